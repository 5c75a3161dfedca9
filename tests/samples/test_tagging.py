"""Tagging stored samples gives what tagging while sampling gives, beside what is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from toy import TAGS, ToyGenerator, ToyTagger, ToyTranslator, as_png

from latentedit.errors import DamagedFileError, LatentEditError, MismatchError
from latentedit.samples.sampling import sample
from latentedit.samples.store import Samples, open_samples
from latentedit.samples.tagging import tag

G, T, OTHER = ToyGenerator(), ToyTagger(), ToyTagger(seed=200, tags=TAGS[:4], threshold=0.4)


def scores_of(samples: Samples, tagger: str | None = None) -> np.ndarray:
    return np.concatenate([b.scores for b in samples.iter_batches(tagger) if b.scores is not None])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, name in enumerate(("a.png", "b.png")):
        pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.mark.parametrize("noise", ["stored", "none", 5])
def test_tagging_later_is_tagging_at_once(tmp_path: Path, noise: str | int) -> None:
    sample(G, tmp_path / "at-once", tagger=T, n=10, shard_size=4, noise=noise)
    stored = sample(G, tmp_path / "later", n=10, shard_size=4, noise=noise)
    tagged = tag(stored, G, T, batch_size=32, tagger_name="toy")
    assert stored.taggers == [] and tagged.taggers == [T.id]  # a handle does not change
    assert tagged.manifest.taggers[0].name == "toy" and tagged.tags("toy") == TAGS
    for file in (tmp_path / "at-once/tags").rglob("*.parquet"):
        assert pq.read_table(file).equals(pq.read_table(tmp_path / "later" / file.relative_to(tmp_path / "at-once")))
    again = sample(G, tmp_path / "other-noise", tagger=T, n=10, noise=77)
    assert not np.array_equal(scores_of(again), scores_of(tagged))


def test_two_taggers_side_by_side(tmp_path: Path) -> None:
    first = sample(G, tmp_path, tagger=T, n=10, shard_size=4)
    before = scores_of(first)
    both = tag(tmp_path, G, OTHER, batch_size=3)
    assert both.taggers == [T.id, OTHER.id] and both.tags(OTHER.id) == TAGS[:4]
    assert both.tags() == TAGS and both.threshold(OTHER.id) == pytest.approx(0.4, abs=1e-3)
    np.testing.assert_array_equal(scores_of(both), before)
    known = OTHER.score(as_png(G.decode(G.sample_codes(range(10))))).numpy()
    np.testing.assert_allclose(scores_of(both, OTHER.id), np.where(known > 0.01, known, 0), atol=1e-3)
    assert both.fingerprint() == first.fingerprint() != both.fingerprint(OTHER.id)


def test_a_killed_run_resumes(tmp_path: Path) -> None:
    class Breaking(ToyTagger):
        left = 3

        def score(self, images):  # type: ignore[no-untyped-def]
            Breaking.left -= 1
            if Breaking.left == -1:
                raise KeyboardInterrupt
            return super().score(images)

    stored = sample(G, tmp_path, n=10, shard_size=4)
    with pytest.raises(KeyboardInterrupt):
        tag(stored, G, Breaking(), batch_size=2)
    with pytest.raises(LatentEditError, match="cover 6 of 10 rows .*`latentedit tag`"):
        scores_of(open_samples(tmp_path))
    calls: list[tuple[int, int]] = []
    resumed = tag(stored, G, T, batch_size=2, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(6, 10), (8, 10), (10, 10)]
    whole = sample(G, tmp_path / "whole", tagger=T, n=10, shard_size=4, batch_size=2)
    np.testing.assert_array_equal(scores_of(resumed), scores_of(whole))
    calls.clear()
    tag(stored, G, T, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(10, 10)]


def test_damaged_tags_are_refused_then_redone(tmp_path: Path) -> None:
    samples = sample(G, tmp_path, tagger=T, n=10, shard_size=4)
    before = scores_of(samples)
    (file,) = tmp_path.glob("tags/*/tags-00001.parquet")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DamagedFileError, match=f"{file}.*delete it"):
        tag(tmp_path, G, T)
    file.unlink()
    np.testing.assert_array_equal(scores_of(tag(tmp_path, G, T)), before)
    (tmp_path / "codes-00001.parquet").unlink()
    with pytest.raises(DamagedFileError, match="codes-00001.parquet is missing; run the same `latentedit sample`"):
        tag(tmp_path, G, OTHER)


def test_another_generator_is_refused(tmp_path: Path) -> None:
    stored = sample(G, tmp_path, n=4)
    other = ToyGenerator(seed=9)
    with pytest.raises(MismatchError, match=f"{G.id}, and this generator is {other.id}"):
        tag(stored, other, T)
    assert open_samples(tmp_path).taggers == []


def test_the_same_id_with_other_tags_is_refused(tmp_path: Path) -> None:
    stored = sample(G, tmp_path, tagger=T, n=4)
    renamed = ToyTagger()
    renamed.tags = TAGS[::-1]
    with pytest.raises(MismatchError, match="for other tags"):
        tag(stored, G, renamed)


def test_contents_are_found_again(tmp_path: Path, pictures: Path) -> None:
    g = ToyTranslator()
    whole = sample(g, tmp_path / "whole", tagger=T, n=10, shard_size=4, contents=pictures)
    later = [sample(g, tmp_path / str(i), n=10, shard_size=4, contents=pictures) for i in range(3)]
    np.testing.assert_array_equal(scores_of(tag(later[0], g, T)), scores_of(whole))
    moved = pictures.rename(tmp_path / "moved")
    with pytest.raises(DamagedFileError, match="a.png is missing; name the folder"):
        tag(later[1], g, T)
    np.testing.assert_array_equal(scores_of(tag(later[1], g, T, contents=moved)), scores_of(whole))
    Image.new("RGB", (16, 16)).save(moved / "b.png")
    with pytest.raises(MismatchError, match="b.png was changed since"):
        tag(later[2], g, T, contents=moved)
    assert open_samples(later[2].path).taggers == []


def test_arguments_that_do_not_fit(tmp_path: Path, pictures: Path) -> None:
    stored = sample(G, tmp_path / "s", n=4)
    with pytest.raises(LatentEditError, match="sampled without contents"):
        tag(stored, G, T, contents=pictures)
    with pytest.raises(LatentEditError, match="batch_size is 0"):
        tag(stored, G, T, batch_size=0)
    with pytest.raises(DamagedFileError, match="manifest.json is missing"):
        tag(tmp_path / "nowhere", G, T)
    assert not (tmp_path / "nowhere").exists()
