"""Agreement of two taggers, against scikit-learn and numpy on the same scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from toy import TAGS, ToyGenerator, ToyTagger

from latentedit.errors import LatentEditError, UnknownNameError
from latentedit.metrics import tagger_agreement
from latentedit.metrics.agreement import cohen_kappa
from latentedit.samples.sampling import sample
from latentedit.samples.store import Samples
from latentedit.samples.tagging import tag
from latentedit.taggers import load_tagger

G, FIRST = ToyGenerator(), ToyTagger()


class Partial(ToyTagger):
    """Other weights, tags in another order and one of its own, and a threshold that differs for a tag."""

    thresholds = {"red_hair": 0.9}

    def __init__(self) -> None:
        super().__init__(seed=300, threshold=0.3)
        self.tags = (*TAGS[:0:-1], "grin")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    folder = tmp_path_factory.mktemp("run")
    samples = tag(sample(G, folder, tagger=FIRST, n=700, shard_size=256), G, Partial(), tagger_name="second")
    lines = "".join(f"{seed},{seed % 2},{seed % 3 == 0:d}\n" for seed in range(100, 300))
    (folder / "labels.csv").write_text("seed,smile,red_hair\n" + lines)
    return tag(samples, G, load_tagger(f"csv:{folder}/labels.csv"), tagger_name="human")


def scores(run: Samples, tagger: str, name: str) -> np.ndarray:
    column = run.tags(tagger).index(name)
    return np.concatenate([b.scores[:, column] for b in run.iter_batches(tagger) if b.scores is not None])


def test_every_number_against_the_libraries(run: Samples) -> None:
    found = tagger_agreement(run, FIRST.id, "second")
    assert found.tags == TAGS[1:] and found.missing_first == ("grin",) and found.missing_second == ("long_hair",)
    assert found.rows == 700
    for j, name in enumerate(found.tags):
        x, y = scores(run, FIRST.id, name), scores(run, "second", name)
        limit = np.float16(0.9 if name == "red_hair" else 0.3)
        a, b = x >= 0.5, y >= limit
        counts = (found.only_first[j], found.only_second[j], found.both[j])
        assert counts == ((a & ~b).sum(), (b & ~a).sum(), (a & b).sum())
        assert found.kappa[j] == pytest.approx(cohen_kappa_score(a, b), abs=1e-12)
        assert found.correlation[j] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)
        for side, lone, difference in ((0, a & ~b, x - y), (1, b & ~a, y - x)):
            rows = np.flatnonzero(lone)
            best = rows[np.argsort(-difference[rows], kind="stable")][:4]
            assert found.shown[j][side] == tuple(best)
    disagreements = (found.only_first + found.only_second)[found.seen]
    assert (np.diff(disagreements) <= 0).all() and len(found.seen) == 5


def test_only_rows_that_both_have_labelled_count(run: Samples) -> None:
    found = tagger_agreement(run, FIRST.id, "human")
    assert found.rows == 200 and found.tags == ("red_hair", "smile")
    x = scores(run, FIRST.id, "smile")[100:300] >= 0.5
    assert found.kappa[1] == pytest.approx(cohen_kappa_score(x, np.arange(100, 300) % 2), abs=1e-12)
    by_default = tagger_agreement(run)
    assert (by_default.first, by_default.second) == (FIRST.id, run.tagger_id("human"))


class SomeLabels:
    """Labels of two tags, each on rows that mostly lack the other's."""

    id, tags, threshold = "some:0", ("smile", "red_hair"), 0.5

    def score(self, images: object) -> object:
        raise AssertionError("pictures are not needed")

    def label_rows(self, seeds: np.ndarray, names: list[str] | None) -> np.ndarray:
        labels = np.stack([seeds % 2, seeds % 3 == 0], 1).astype(np.float32)
        labels[seeds % 5 < 3, 0] = labels[seeds % 5 > 1, 1] = np.nan
        return labels


def test_each_tag_is_compared_on_the_rows_that_are_labelled_for_it(tmp_path: Path) -> None:
    stored = tag(sample(G, tmp_path, tagger=FIRST, n=700, shard_size=256), G, SomeLabels())
    found = tagger_agreement(stored, FIRST.id, "some:0")
    assert found.rows == 4 * 140 and set(found.tags) == {"smile", "red_hair"}
    for j, name in enumerate(found.tags):
        x, y = scores(stored, FIRST.id, name), scores(stored, "some:0", name)
        known = np.isfinite(y)
        assert 200 < known.sum() < 300 and found.labelled[j] == known.sum()
        a, b = x[known] >= 0.5, y[known] >= 0.5
        counts = (found.only_first[j], found.only_second[j], found.both[j])
        assert counts == ((a & ~b).sum(), (b & ~a).sum(), (a & b).sum())
        assert found.kappa[j] == pytest.approx(cohen_kappa_score(a, b), abs=1e-12)
        assert found.correlation[j] == pytest.approx(np.corrcoef(x[known], y[known])[0, 1], abs=1e-9)


def test_kappa_at_its_ends() -> None:
    n, half = 10, np.array([5])
    assert cohen_kappa(n, half, half, half) == 1
    assert cohen_kappa(n, half, half, np.array([0])) == -1
    assert np.isnan(cohen_kappa(n, np.array([0]), np.array([0]), np.array([0])))


def test_what_cannot_be_compared(run: Samples, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown tagger 'third'"):
        tagger_agreement(run, "third")
    with pytest.raises(LatentEditError, match="has to hold tags of two taggers"):
        tagger_agreement(run, "second", "second")
    alone = sample(G, tmp_path, tagger=FIRST, n=8)
    with pytest.raises(LatentEditError, match="holds toytags.*latentedit tag"):
        tagger_agreement(alone)
    (tmp_path / "labels.csv").write_text("seed,grin\n1,1\n")
    strange = tag(alone, G, load_tagger(f"csv:{tmp_path}/labels.csv"))
    with pytest.raises(LatentEditError, match="no tag in common"):
        tagger_agreement(strange)
