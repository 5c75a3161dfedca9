"""A content that cannot be read keeps its place: no other row changes, and its own say why they have no tags."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from bad_pictures import BAD, fill
from toy import ToyTagger, ToyTranslator

from latentedit import Faces, fit_directions, open_samples, sample, tag
from latentedit.errors import LatentEditError, MismatchError, UnreadablePictures
from latentedit.samples.contents import Contents
from latentedit.samples.fill import pictures_of
from latentedit.samples.store import Samples

G, T = ToyTranslator(), ToyTagger()
NAMES = ("p01.png", "p04.png")
ROWS = 60


def rows_of(samples: Samples, tagger: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    batches = list(samples.iter_batches(tagger))
    return np.concatenate([b.codes for b in batches]), np.concatenate(
        [b.scores for b in batches if b.scores is not None]
    )


def spoil(folder: Path, *, cut: bool = True) -> None:
    whole = (folder / NAMES[0]).read_bytes()
    (folder / NAMES[0]).write_bytes(whole[: len(whole) // 2] if cut else b"")
    (folder / NAMES[1]).write_bytes(b"<html>")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path / "f", 7, bad=())
    return tmp_path / "f"


@pytest.fixture
def lost() -> np.ndarray:
    """Rows of the two contents."""
    return np.isin(np.arange(ROWS) // 3 % 7, (1, 4))


def test_no_other_row_changes(tmp_path: Path, folder: Path, lost: np.ndarray) -> None:
    whole = sample(G, tmp_path / "a", tagger=T, n=ROWS, contents=folder, shard_size=16, batch_size=5, keep_images=True)
    spoil(folder)
    with pytest.warns(
        UnreadablePictures, match="2 of 7 .*p01.png .*cut off.*p04.png .*a web page.*they keep their places"
    ):
        found = sample(
            G, tmp_path / "b", tagger=T, n=ROWS, contents=folder, shard_size=16, batch_size=5, keep_images=True,
            images=tmp_path / "im",
        )  # fmt: skip
    (codes, scores), (expected_codes, expected) = rows_of(found), rows_of(whole)
    np.testing.assert_array_equal(codes, expected_codes)
    np.testing.assert_allclose(scores[~lost], expected[~lost], atol=1e-3)
    assert np.isnan(scores[lost]).all() and not np.isnan(scores[~lost]).any()
    assert found.labelled() == (~lost).sum() and sum(found.failures().values()) == lost.sum()
    status = [one for k in range(4) for one in pq.read_table(tags_file(found, k))["status"].to_pylist()]
    assert [one is not None for one in status] == lost.tolist()
    assert status[3] == "content p01.png: " + next(r for r in found.failures() if "p01" in r).partition(": ")[2]
    images = [
        one for k in range(4) for one in pq.read_table(tmp_path / f"b/codes-{k:05d}.parquet")["image"].to_pylist()
    ]
    assert [one is None for one in images] == lost.tolist()
    assert {int(path.stem) for path in (tmp_path / "im").glob("*.png")} == set(np.flatnonzero(~lost).tolist())


def tags_file(samples: Samples, number: int) -> Path:
    return samples.path / "tags" / samples.manifest.taggers[-1].folder / f"tags-{number:05d}.parquet"


def test_what_is_done_with_such_rows(tmp_path: Path, folder: Path, lost: np.ndarray) -> None:
    spoil(folder)
    with pytest.warns(UnreadablePictures):
        stored = sample(G, tmp_path / "s", tagger=T, n=ROWS, contents=folder)
    bank = fit_directions(stored, finder="linear", tags=["smile"])
    assert np.isfinite(bank["smile"].vector.numpy()).all()
    with pytest.raises(LatentEditError, match="seed 3 of .* has no picture: its content could not be read"):
        pictures_of(stored, G, [0, 3])
    assert len(pictures_of(stored, G, [0, 1])) == 2
    with pytest.warns(UnreadablePictures, match="2 of 7"):
        again = tag(stored, G, ToyTagger(seed=5))
    assert again.failures(again.taggers[1]) == stored.failures()
    changed = ToyTagger(threshold=0.7)  # written anew: the reasons stay
    assert changed.id == T.id
    with pytest.warns(UnreadablePictures):
        restated = sample(G, tmp_path / "s", tagger=changed, n=ROWS, contents=folder)
    assert restated.failures() == stored.failures()


def test_one_that_is_mended_stays_lost_for_that_run_alone(tmp_path: Path, folder: Path, lost: np.ndarray) -> None:
    good = {name: (folder / name).read_bytes() for name in NAMES}
    spoil(folder, cut=False)
    with pytest.warns(UnreadablePictures):
        sample(G, tmp_path / "s", tagger=T, n=30, contents=folder)
    for name, content in good.items():
        (folder / name).write_bytes(content)
    with pytest.warns(UnreadablePictures, match="it could not be read when its samples were made; sample into another"):
        longer = sample(G, tmp_path / "s", tagger=T, n=ROWS, contents=folder)
    np.testing.assert_array_equal(np.isnan(rows_of(longer)[1]).all(1), lost)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sample(G, tmp_path / "new", tagger=T, n=ROWS, contents=folder).labelled() == ROWS
    (folder / "p02.png").write_bytes(b"")  # a good one that rows have is still refused
    with pytest.raises(MismatchError, match=r"p02.png was changed since"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tag(longer, G, ToyTagger(seed=5))


def test_one_that_no_row_had_may_turn_out_bad_when_there_are_more(tmp_path: Path, folder: Path) -> None:
    spoil(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sample(G, tmp_path / "s", tagger=T, n=3, contents=folder)
    with pytest.warns(UnreadablePictures, match="1 of 3 .*p01.png"):
        assert sample(G, tmp_path / "s", tagger=T, n=9, contents=folder).labelled() == 6
    with pytest.warns(UnreadablePictures, match="2 of 7"):
        assert sample(G, tmp_path / "s", tagger=T, n=21, contents=folder).labelled() == 15
    assert open_samples(tmp_path / "s").rows == 21


@pytest.mark.parametrize("names", [[*BAD], ["p17-cut.png", "p05-page.jpg"], ["p17-cut.png"]])
def test_bad_ones_alone_are_an_error_and_nothing_is_written(tmp_path: Path, names: list[str]) -> None:
    fill(tmp_path / "f", 0, bad=names)
    n = len(names)
    with pytest.raises(LatentEditError, match=rf"{n} of {n} pictures|cannot read .*p17-cut.png"):
        sample(G, tmp_path / "s", tagger=T, n=3 * len(names), contents=tmp_path / "f")
    assert not (tmp_path / "s").exists()


def test_faces_are_drawn_with_the_others(tmp_path: Path, folder: Path) -> None:
    spoil(folder)
    good = [path for path in sorted(folder.glob("p*.png")) if path.name not in NAMES]
    for faces in (Faces(seeds=range(9), content=folder), Faces(seeds=[3], content=folder, every_content=True)):
        with pytest.warns(UnreadablePictures, match="2 of 7 .*p01.png.*p04.png.*they are left out"):
            prepared = faces.prepare(G)
        assert [prepared.content_path(i) for i in range(5)] == good
        expected = replace(faces, content=Contents.find(G, good)).prepare(G)
        assert torch.equal(prepared.pictures(), expected.pictures())
    with pytest.warns(UnreadablePictures, match="1 of 7"):  # as far as they are needed
        assert len(Faces(seeds=range(2), content=folder).prepare(G)) == 2
    with pytest.warns(UnreadablePictures, match="2 of 7"):
        styles = Faces(style=folder).prepare(G)
    assert list(styles.names) == [path.name for path in good]
    with pytest.raises(LatentEditError, match="cannot read .*p01.png"):
        Faces(seeds=[0], content=folder / "p01.png").prepare(G).pictures()
