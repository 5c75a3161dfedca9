"""Re-scoring on a linear generator, whose answer is known."""

import numpy as np
import pytest
import torch

from latentedit.direction import Direction, DirectionBank
from latentedit.errors import LatentEditError
from latentedit.knowledge import TagKnowledge, TagPair
from latentedit.metrics import rescore
from latentedit.metrics.rescoring import bootstrap_interval

TAGS = ("long_hair", "short_hair", "smile", "hat")


class Linear:
    """Decodes a code of 4 numbers to four constant pictures' channels; the judge reads them back."""

    id, z_dim, dim, layers, resolution = "linear:1", 4, 4, ("w",), 4

    def sample_codes(self, seeds, *, label=None, truncation=1.0):
        return torch.stack([torch.rand(4, generator=torch.Generator().manual_seed(s)) for s in seeds])

    def decode(self, codes, *, content=None, noise="stored"):
        shift = 0 if content is None else content[:, :1]
        return ((codes + shift)[:, None].expand(-1, 3, -1)[..., None].expand(-1, -1, -1, 4)) * 0.5


class Reader:
    id, tags, threshold = "reader:1", TAGS, 0.5

    def score(self, images):
        return (images[:, 0, :, 0] * 2).clamp(0, 1)


def along(tag, i, sigma=0.1, extra=0.0):
    vector = torch.zeros(4)
    vector[i], vector[3] = 1, extra
    norm = vector.norm()
    return Direction(tag=tag, vector=vector / norm, sigma=float(sigma * norm), generator_id="linear:1", layers=("w",))


bank = DirectionBank([along("long_hair", 0, extra=0.5), along("short_hair", 1), along("smile", 2)])
knowledge = TagKnowledge.load()


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
    shifted = rescore(Linear(), Reader(), bank, edits, range(30), content=torch.full((1, 1), 0.3), n_boot=10)
    assert shifted.before.mean() > a.before.mean() + 0.1


def test_target_and_others_are_told_apart():
    r = rescore(Linear(), Reader(), bank, [{"long_hair": 2.0}], range(200), n_boot=10)
    lacking = r.before[:, 0] < 0.5
    assert r.rows(0).tolist() == lacking.tolist()
    assert r.target_change(0) == pytest.approx(0.2, abs=1e-5)
    off = r.off_target(0)
    assert set(off) == {"smile", "hat"}  # short_hair is of its own group
    assert off["smile"] == pytest.approx(0, abs=1e-6)
    assert off["hat"] == pytest.approx(np.abs(r.after[0, lacking, 3] - r.before[lacking, 3]).mean(), abs=1e-6)
    assert r.selectivity[0] == pytest.approx(r.target_change(0) / np.mean(list(off.values())), rel=1e-6)
    having = r.rows(0, having="hat")
    assert (r.before[having, 3] >= 0.5).all() and having.sum() < lacking.sum()


def test_pairs_and_tags_bring_the_opposite():
    pair = rescore(Linear(), Reader(), bank, [TagPair("smile", "short_hair", -0.5)], range(20), strength=2, n_boot=10)
    assert pair.targets == ("smile",) and pair.mean[0, 1] < 0
    auto = rescore(Linear(), Reader(), bank, ["long_hair"], range(20), n_boot=10)
    alone = rescore(Linear(), Reader(), bank, ["long_hair"], range(20), opposite=None, n_boot=10)
    assert auto.mean[0, 1] < 0 and abs(alone.mean[0, 1]) < 1e-7


def test_interval_covers_the_mean_of_a_normal_as_often_as_it_says():
    random = np.random.default_rng(5)
    change = random.normal(0.3, 1, size=(1, 200, 400))  # 400 repetitions of 200 pictures
    low, high = bootstrap_interval(change, n_boot=500)
    covered = ((low <= 0.3) & (0.3 <= high)).mean()
    assert 0.91 <= covered <= 0.98
    narrow_low, narrow_high = bootstrap_interval(change, n_boot=500, level=0.5)
    assert ((narrow_low <= 0.3) & (0.3 <= narrow_high)).mean() < 0.65


def test_nothing_to_do_is_refused():
    with pytest.raises(LatentEditError, match="at least one"):
        rescore(Linear(), Reader(), bank, [], range(5))
    with pytest.raises(LatentEditError, match="at least one"):
        rescore(Linear(), Reader(), bank, ["smile"], [])
    with pytest.raises(LatentEditError, match="does not measure"):
        rescore(Linear(), Reader(), DirectionBank([along("wings", 0)]), ["wings"], range(5), n_boot=10).target_change(0)


def test_each_tag_is_present_from_its_own_threshold():
    class Strict(Reader):
        thresholds = {"long_hair": 0.9}

    r = rescore(Linear(), Strict(), bank, ["long_hair"], range(60), n_boot=10)
    codes = Linear().sample_codes(range(60)).numpy()
    assert (r.rows(0) == (codes[:, 0] < 0.9)).all() and r.rows(0).sum() > (codes[:, 0] < 0.5).sum()
    assert (r.rows(0, having="smile") == ((codes[:, 0] < 0.9) & (codes[:, 2] >= 0.5))).all()
