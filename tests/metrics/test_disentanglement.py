"""DCI against scipy's entropies and on codes whose answer is known."""

import numpy as np
import pytest
import torch
from scipy import stats
from toy import ToyGenerator, ToyTagger

from latentedit import sample
from latentedit.directions.bank import DirectionBank
from latentedit.directions.direction import Direction
from latentedit.errors import LatentEditError, MismatchError, UnknownNameError
from latentedit.metrics import dci, dci_of_bank
from latentedit.metrics.disentanglement import scores_of

FACTORS = np.random.default_rng(0).normal(size=(600, 4))
NOISE = np.random.default_rng(4).normal(size=(600, 4))


def test_scores_are_one_minus_scipys_entropies():
    r = np.random.default_rng(3).random((6, 4)) ** 3
    r[2] = 0  # an entry that matters for nothing has no say
    rows, columns = r.sum(1), r.sum(0)
    used = rows > 0
    d = 1 - stats.entropy(r[used], axis=1, base=4)
    c = 1 - stats.entropy(r, axis=0, base=6)
    wanted = (np.average(d, weights=rows[used]), np.average(c, weights=columns))
    assert scores_of(r) == pytest.approx(wanted, abs=1e-12)


def test_one_factor_or_one_entry_leaves_nothing_to_tell_apart():
    assert np.isnan(scores_of(np.ones((3, 1)))[0]) and np.isnan(scores_of(np.ones((1, 3)))[1])
    assert scores_of(np.ones((3, 1)))[1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("regressor", ["lasso", "forest", "boosting"])
def test_codes_that_are_the_factors_score_1_and_noise_does_not(regressor):
    same = dci(FACTORS[:, [2, 0, 3, 1]] * [1, 50, 0.1, -3] + 7, FACTORS, regressor=regressor)  # any order, scale, sign
    floor = 0.99 if regressor == "lasso" else 0.9
    assert min(same.disentanglement, same.completeness, same.informativeness) > floor
    assert same.importance.argmax(0).tolist() == [1, 3, 0, 2]
    noise = dci(np.random.default_rng(1).normal(size=(600, 4)), FACTORS, regressor=regressor)
    assert noise.informativeness < 0.05


def test_turned_codes_inform_as_well_and_are_entangled():
    """Turned by 45° in two planes, each entry is shared by two factors: 1 bit of the 2 that 4 factors have."""
    turn = np.kron(np.eye(2), [[1, 1], [-1, 1]]) / np.sqrt(2)
    turned = dci(FACTORS @ turn, FACTORS)
    assert turned.informativeness > 0.99
    assert turned.disentanglement == pytest.approx(0.5, abs=0.03)
    assert turned.completeness == pytest.approx(0.5, abs=0.03)


def test_a_factor_told_twice_is_disentangled_and_incomplete():
    two = FACTORS[:, :2]
    doubled = dci(np.concatenate([two + NOISE[:, :2] / 2, two + NOISE[:, 2:] / 2], 1), two)
    assert doubled.disentanglement > 0.6 and doubled.completeness < 0.45  # 0.5 if the two shared it out evenly


def test_the_scale_of_a_factor_does_not_matter():
    """Half a code tells two factors apart however large either is; coefficients of raw factors would not."""
    mixed = FACTORS[:, :2] @ np.array([[1.0, 1.0], [0.0, 1.0]])
    a, b = dci(mixed, FACTORS[:, :2]), dci(mixed, FACTORS[:, :2] * [1, 1000])
    assert a.disentanglement == pytest.approx(b.disentanglement, abs=1e-3)
    assert scores_of(a.importance * [1, 1000])[0] > a.disentanglement + 0.1


def test_informativeness_is_the_held_out_r2():
    noisy = FACTORS + NOISE  # half of the variance is the factor's
    found = dci(noisy, FACTORS)
    assert found.informativeness == pytest.approx(0.5, abs=0.08) and found.r2.mean() == found.informativeness
    assert dci(noisy, FACTORS).importance.tolist() == found.importance.tolist()
    assert dci(noisy, FACTORS, seed=1).r2.tolist() != found.r2.tolist()


def test_what_cannot_be_measured_is_refused():
    x = FACTORS[:60]
    for codes, factors, options, words in (
        (x, x[:20], {}, "same rows"), (x[:10], x[:10], {}, "20 rows"), (x, x * 0, {}, "does not vary"),
        (x, np.where(x > 9, 1, np.nan), {}, "finite"), (x, x[:, 0], {}, "same rows"),
        (x, x, {"test_share": 0.0}, "test_share"), (x, x, {"test_share": 1.0}, "test_share"),
    ):  # fmt: skip
        with pytest.raises(LatentEditError, match=words):
            dci(codes, factors, **options)
    with pytest.raises(UnknownNameError, match="forest"):
        dci(x, x, regressor="ridge")
    assert np.isfinite(dci(x[:20], x[:20], test_share=0.9).r2).all()  # ten are left to learn from


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return sample(ToyGenerator(), tmp_path_factory.mktemp("dci") / "samples", tagger=ToyTagger(), n=600)


def toy_bank(samples, vectors, tags):
    return DirectionBank(
        [
            Direction(tag=tag, vector=torch.as_tensor(v).float(), sigma=1.0, generator_id=samples.generator_id)
            for tag, v in zip(tags, vectors, strict=True)
        ]
    )  # fmt: skip


def test_a_bank_that_predicts_its_tags_beats_one_that_does_not(samples):
    batches = list(samples.iter_batches())
    codes = np.concatenate([b.codes for b in batches])
    scores = np.concatenate([b.scores for b in batches]).astype(float)
    tags = [t for t, score in zip(samples.tags(), scores.T, strict=True) if (score > 0.5).sum() >= 20][:3]
    columns = [samples.tags().index(t) for t in tags]
    fitted = np.linalg.lstsq(codes - codes.mean(0), scores[:, columns] - scores[:, columns].mean(0), rcond=None)[0].T
    fitted /= np.linalg.norm(fitted, axis=1, keepdims=True)
    good = dci_of_bank(toy_bank(samples, fitted, tags), samples)
    random = np.random.default_rng(0).normal(size=fitted.shape)
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    bad = dci_of_bank(toy_bank(samples, random, tags), samples)
    assert good.importance.shape == (len(tags), len(tags))
    assert good.informativeness > bad.informativeness + 0.2


def test_banks_that_do_not_fit_are_refused(samples):
    unit = np.eye(16)[:1]
    with pytest.raises(LatentEditError, match="whose tags the samples have"):
        dci_of_bank(toy_bank(samples, unit, ["wings"]), samples)
    other = DirectionBank([Direction(tag="smile", vector=torch.eye(16)[0], sigma=1.0, generator_id="toy:other")])
    with pytest.raises(MismatchError):
        dci_of_bank(other, samples)
    with pytest.raises(LatentEditError, match="sample more"):
        dci_of_bank(toy_bank(samples, unit, [samples.tags()[0]]), samples, rows=5)
