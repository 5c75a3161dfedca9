"""Re-scoring on a linear generator, whose answer is known."""

import numpy as np
import pytest
import torch
from linear_world import Linear, Reader, along, bank

from latentedit.directions.bank import DirectionBank
from latentedit.directions.edits import Edit
from latentedit.directions.pairs import TagPair, TagRelations
from latentedit.editing.faces import Faces
from latentedit.errors import LatentEditError
from latentedit.metrics import rescore
from latentedit.metrics.intervals import mean_interval
from latentedit.metrics.rescoring import Rescoring, selectivity_of

relations = TagRelations.load()


def test_the_matrix_is_what_the_linear_map_says():
    r = rescore(Linear(), Reader(), bank, [{"long_hair": 2.0}, {"smile": -1.0}], range(50), n_boot=50)
    codes = Linear().sample_codes(range(50)).numpy()
    moved = codes + np.array([0.2, 0, 0, 0.1])
    expected = (np.clip(moved, 0, 1) - codes).mean(0)
    assert np.allclose(r.mean[0], expected, atol=1e-6)
    assert r.mean[1, 2] < 0 and np.allclose(r.mean[1, [0, 1, 3]], 0, atol=1e-7)
    assert r.mean.shape == r.low.shape == r.high.shape == (2, 4)
    assert (r.low <= r.mean + 1e-12).all() and (r.mean <= r.high + 1e-12).all()


def test_batches_do_not_matter_and_content_reaches_the_decoder():
    edits = ["long_hair"]
    a = rescore(Linear(), Reader(), bank, edits, range(30), batch_size=7, n_boot=10)
    b = rescore(Linear(), Reader(), bank, edits, range(30), batch_size=30, n_boot=10)
    assert np.allclose(a.after, b.after, atol=1e-6)
    shifted = rescore(Linear(), Reader(), bank, edits, Faces(range(30), content=torch.full((1, 1), 0.3)), n_boot=10)
    assert shifted.before.mean() > a.before.mean() + 0.1


def test_target_and_others_are_told_apart():
    r = rescore(Linear(), Reader(), bank, [{"long_hair": 2.0}], range(200), n_boot=10)
    lacking = r.before[:, 0] < 0.5
    assert r.rows(0).tolist() == lacking.tolist()
    summary = r.summary(0, among="lacking")
    assert summary.target.value == pytest.approx(0.2, abs=1e-5) and summary.pictures == lacking.sum()
    assert set(r.others(0)) == {"smile", "hat"}  # short_hair is of its own group
    change = np.abs(r.after[0, lacking] - r.before[lacking]).mean(0)
    assert summary.off_target.value == pytest.approx((change[2] + change[3]) / 2, abs=1e-6)
    assert change[2] == pytest.approx(0, abs=1e-6) and r.worst_other(0, among="lacking")[0] == "hat"
    assert summary.selectivity.value == pytest.approx(summary.target.value / summary.off_target.value, rel=1e-5)
    everyone = np.abs(r.after[0] - r.before)[:, 2:].mean()
    assert r.selectivity[0] == pytest.approx(r.mean[0, 0] / everyone, rel=1e-5)
    having = r.rows(0, having="hat")
    assert (r.before[having, 3] >= 0.5).all() and having.sum() < lacking.sum()


def test_pairs_and_tags_bring_the_opposite():
    pair = rescore(Linear(), Reader(), bank, [TagPair("smile", "short_hair", -0.5)], range(20), n_boot=10)
    assert pair.targets == ("smile",) and pair.mean[0, 1] < 0
    auto = rescore(Linear(), Reader(), bank, ["long_hair"], range(20), n_boot=10)
    alone = rescore(Linear(), Reader(), bank, Edit("long_hair", opposite=None), range(20), n_boot=10)
    assert auto.mean[0, 1] < 0 and abs(alone.mean[0, 1]) < 1e-7


N, REPEATS = 200, 1000


@pytest.fixture(scope="module")
def repetitions():
    """1,000 re-scorings of 200 pictures by a linear judge of normal codes; their answers are known in closed form.

    Half of the pictures lack the target; its score is 0.5 ± 0.1 |a| and rises by 0.2 + 0.05 b; the other's changes by
    0.02 + 0.03 |c|, for independent standard normal a, b, c.
    """
    found = []
    for repeat in range(REPEATS):
        a, b, c = np.random.default_rng(10_000 + repeat).normal(size=(3, N))
        lacking = np.arange(N) % 2 == 0
        before = np.stack([0.5 + np.where(lacking, -0.1, 0.1) * np.abs(a), np.full(N, 0.6)], 1)
        after = before + np.stack([0.2 + 0.05 * b, 0.02 + 0.03 * np.abs(c)], 1)
        found.append(
            Rescoring.of_scores(
                before, after[None], targets=["smile"], labels=["smile"], tags=["smile", "hat"],
                thresholds=np.full(2, 0.5), n_boot=1000,
            )
        )  # fmt: skip
    return found


OFF = 0.02 + 0.03 * np.sqrt(2 / np.pi)


def share(hits):
    return float(np.mean(list(hits)))


def test_the_interval_of_the_matrix_covers_the_truth_in_95_of_100(repetitions):
    for column, truth in ((0, 0.2), (1, OFF)):
        assert 0.93 <= share(r.low[0, column] <= truth <= r.high[0, column] for r in repetitions) <= 0.97


@pytest.mark.parametrize("among", ["all", "lacking"])
def test_the_intervals_of_the_summary_do_so_too(repetitions, among):
    rows = [r.summary(0, among=among) for r in repetitions]
    truths = {"target": 0.2, "off_target": OFF, "selectivity": 0.2 / OFF}
    for name, truth in truths.items():
        covered = share(getattr(row, name).low <= truth <= getattr(row, name).high for row in rows)
        assert 0.93 <= covered <= 0.97, (name, covered)


def test_half_an_interval_fails_the_same_check(repetitions):
    covered = share(abs(r.mean[0, 0] - 0.2) <= (r.high[0, 0] - r.low[0, 0]) / 4 for r in repetitions)
    assert covered < 0.8


def test_many_tags_at_once_are_as_one_by_one():
    values = np.random.default_rng(1).normal(size=(30, 500))
    whole, single = mean_interval(values, n_boot=200), mean_interval(values[:, 77], n_boot=200)
    assert np.allclose([x[77] for x in whole], single, atol=1e-12)


def test_selectivity_has_a_floor():
    assert selectivity_of(np.array([[0.4, 0.001], [0.4, 0.1]])).tolist() == pytest.approx([80.0, 4.0])


def test_scores_survive_a_file(tmp_path):
    r = rescore(Linear(), Reader(), bank, ["long_hair"], range(20), n_boot=20)
    r.save(tmp_path / "r.safetensors")
    again = Rescoring.load(tmp_path / "r.safetensors")
    assert np.array_equal(again.after, r.after) and np.array_equal(again.low, r.low) and again.tags == r.tags


def test_nothing_to_do_is_refused():
    with pytest.raises(LatentEditError, match="name a tag or more"):
        rescore(Linear(), Reader(), bank, [], range(5))
    with pytest.raises(LatentEditError, match="given by seeds, codes or style; this has none"):
        rescore(Linear(), Reader(), bank, ["smile"], [])
    with pytest.raises(LatentEditError, match="does not measure"):
        rescore(Linear(), Reader(), DirectionBank([along("wings", 0)]), ["wings"], range(5), n_boot=10).summary(0)


def test_each_tag_is_present_from_its_own_threshold():
    class Strict(Reader):
        thresholds = {"long_hair": 0.9}

    r = rescore(Linear(), Strict(), bank, ["long_hair"], range(60), n_boot=10)
    codes = Linear().sample_codes(range(60)).numpy()
    assert (r.rows(0) == (codes[:, 0] < 0.9)).all() and r.rows(0).sum() > (codes[:, 0] < 0.5).sum()
    assert (r.rows(0, having="smile") == ((codes[:, 0] < 0.9) & (codes[:, 2] >= 0.5))).all()


def test_it_shows_itself():
    r = rescore(Linear(), Reader(), bank, [{"long_hair": 2.0}, ["smile", "long_hair"]], range(40), n_boot=20)
    assert repr(r) == "Rescoring(40 pictures, 4 tags of reader:1: long_hair=2 -; smile, long_hair)"
    html = r._repr_html_()
    assert f"<td>{r.summary(0, among='lacking').target:.2f}</td>" in html and "not measured" in html and "hat" in html
