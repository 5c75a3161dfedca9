"""Folders of pictures some of which cannot be read."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from bad_pictures import BAD, fill

from latentedit.errors import LatentEditError, UnreadablePictureError, UnreadablePictures
from latentedit.pictures.folder import PictureFolder


def test_bad_ones_keep_their_places_and_are_told_once(tmp_path: Path) -> None:
    names = fill(tmp_path)
    with pytest.warns(
        UnreadablePictures, match="6 of 28 pictures cannot be read: .*p01-empty.png.*and 1 more; they are"
    ):
        folder = PictureFolder(tmp_path, 8)
    assert len(folder) == len(names) + len(BAD)
    with pytest.warns(UnreadablePictures, match="1 of 28 pictures cannot be read: .*p17-cut.png"):
        places = folder.readable(100)
    assert [folder.paths[i].name for i in places] == names
    assert {path.name for path in folder.unreadable} == {*BAD}
    first = places[0]
    alone = folder.get(first)
    assert alone is not None and torch.equal(alone, folder[first]) and folder.get(1 + first) is None
    with pytest.raises(UnreadablePictureError, match="p01-empty.png"):
        folder[1 + first]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder.tell()
        assert folder.readable(3) == places[:3]


def test_nothing_is_said_of_good_ones(tmp_path: Path) -> None:
    fill(tmp_path, 3, bad=())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert PictureFolder(tmp_path, 8).readable(9) == [0, 1, 2]


@pytest.mark.parametrize("names", [("p01-empty.png", "p02-text.png"), ("p17-cut.png",)])
def test_none_that_can_be_read_is_an_error(tmp_path: Path, names: tuple[str, ...]) -> None:
    fill(tmp_path, 0, bad=names)
    with pytest.raises(
        LatentEditError, match=f"no picture of .* is left: {len(names)} of {len(names)} pictures .*{names[-1]}"
    ):
        PictureFolder(tmp_path, 8).readable(1)
