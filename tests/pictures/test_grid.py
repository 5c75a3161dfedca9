"""Many pictures as one: where they stand, how large, and headings that are whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import latentedit as le
from latentedit.errors import LatentEditError
from latentedit.pictures.grid import grid
from latentedit.pictures.headings import headings

COLOURS = {"red": (1.0, -1, -1), "blue": (-1.0, -1, 1), "lime": (-1.0, 1, -1)}


def plain(*names: str, side: int = 128) -> Tensor:
    return torch.tensor([COLOURS[name] for name in names])[:, :, None, None].expand(-1, -1, side, side)


def test_grid_places_pictures_and_leaves_room_for_labels() -> None:
    images = plain("red", "blue", "blue")
    page = np.asarray(grid(images, 2))
    assert page.shape == (260, 260, 3)
    assert page[5, 5].tolist() == [255, 0, 0] and page[5, 140].tolist() == [0, 0, 255]
    assert page[140, 140].tolist() == [255, 255, 255]  # the last row is short
    labelled = grid(images, 2, row_labels=["one", "two"], column_labels=["x", "y"], title="title")
    assert labelled.width > 260 and labelled.height > 260


@pytest.mark.parametrize(("tile", "shown"), [(None, 128), (32, 32), (100, 96), (300, 288), (16, 16), (7, 7)])
def test_small_pictures_are_enlarged_by_whole_factors_or_reduced(tile: int | None, shown: int) -> None:
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    page = np.asarray(grid(images, 1, tile=tile))
    assert page.shape == (shown + 2, shown + 2, 3)
    if shown >= 32:
        (original,) = le.to_pil(images)
        sharp = np.kron(np.asarray(original), np.ones((shown // 32, shown // 32, 1), np.uint8))
        assert (page[:shown, :shown] == sharp).all()


def columns_of(page: Image.Image, colour: tuple[int, int, int]) -> list[int]:
    """First columns of the runs in which there is a colour."""
    there = (np.asarray(page) == colour).all(-1).any(0)
    return [i for i in range(len(there)) if there[i] and not there[i - 1 if i else len(there) - 1]]


LONG = "extremely_long_tag_of_a_danbooru_kind_(series)"


@pytest.mark.parametrize("tile", [16, 32, 128])
@pytest.mark.parametrize("count", [1, 3, 14])
def test_headings_neither_overlap_nor_are_cut(tile: int, count: int) -> None:
    images = plain(*["red"] * count, side=tile)
    labels = [LONG, "a seed of 4294967295", "unbreakablewordofmanyletters"] * count
    page = le.sheet(images, labels[:count], columns=count, tile=tile)
    ink = np.asarray(page).min(-1) < 128
    ink &= ~(np.asarray(page) == (255, 0, 0)).all(-1)
    assert not ink[:, 0].any() and not ink[:, -1].any() and not ink[0].any() and not ink[-1].any()
    starts = columns_of(page, (255, 0, 0))
    assert len(starts) == count
    ends = [start + tile for start in starts]
    for end, start in zip(ends, starts[1:], strict=False):
        middle = (end + start) // 2
        assert not ink[:, middle - 1 : middle + 1].any()
    for i, start in enumerate(starts):  # each has its own letters, as many as when it stands alone
        half = (starts[1] - starts[0] - 2) // 2 if count > 1 else page.width // 2
        own = ink[:, max(0, start + tile // 2 - half) : start + tile // 2 + half]
        assert own.any(), labels[i]


def test_every_letter_of_a_heading_is_there() -> None:
    for width, size in itertools.product((20, 60, 130), (11, 25)):
        for heading, text in zip(headings([LONG, "red hair", "x" * 70], width, size), [LONG, "red hair", "x" * 70]):  # noqa: B905
            assert heading.text.replace("\n", "") == text or heading.text.split() == text.split()
            assert max(map(heading.font.getlength, heading.text.split("\n"))) <= width


def test_row_labels_and_titles_are_whole() -> None:
    images = plain("red", "red", side=32)
    page = grid(images, 1, row_labels=[LONG * 3, "b"], title="+3 σ long_hair -1 σ short_hair " * 4)
    ink = np.asarray(page).min(-1) < 128
    assert not ink[:, 0].any() and not ink[:, -1].any() and not ink[0].any()
    (start,) = columns_of(page, (255, 0, 0))
    red = (np.asarray(page) == (255, 0, 0)).all(-1)
    assert not (ink & ~red)[red.any(1)][:, start - 3 :].any()  # no label reaches its picture


def test_letters_that_the_font_lacks() -> None:
    (greek,) = headings(["σ ж é"], 200, 12)
    assert greek.text == "σ ж é"
    (composed,) = headings(["e\u0301"], 200, 12)
    assert composed.text == "é"
    (other,) = headings(
        ["\U0001d4d0"], 200, 12
    )  # a script letter: not in DejaVu Sans, but in STIX, which comes with matplotlib
    assert other.text == "\U0001d4d0" and other.font.getname()[0] != greek.font.getname()[0]
    with pytest.warns(UserWarning, match=r"no font here has the letters '\\U000e0fff': pictures show \\U000e0fff"):
        (none,) = headings(["a \U000e0fff b"], 200, 12)  # no font has what is not assigned
    assert none.text == "a \\U000e0fff b"


def test_a_sheet_of_many_is_a_grid() -> None:
    images = plain(*["red", "blue"] * 32, side=32)
    page = le.sheet(images, range(64))
    assert 1 <= page.width / page.height <= 2.2
    folded = le.sheet(images, columns=2)
    assert folded.size == (260, 32 * 130 + 31 * 12)
    assert le.sheet(images[0]).size == (130, 130)
    assert le.sheet(images[:10]).size == (1300, 130)
    assert isinstance(page, Image.Image) and page._repr_png_()


@pytest.mark.parametrize(
    ("images", "options", "match"),
    [
        (torch.zeros(2, 1, 8, 8), {}, r"\(2, 1, 8, 8\)"),
        (torch.zeros(0, 3, 8, 8), {}, r"\(0, 3, 8, 8\)"),
        (torch.zeros(2, 3, 8, 8), {"labels": ["a"]}, "1 labels for 2"),
        (torch.zeros(2, 3, 8, 8), {"columns": 0}, "0 columns"),
        (torch.zeros(2, 3, 8, 8), {"tile": 0}, "tile of 0"),
        (torch.zeros(9, 3, 8, 8), {"tile": 10_000}, "megapixels"),
    ],
)
def test_what_no_sheet_can_be(images: Tensor, options: dict[str, object], match: str) -> None:
    with pytest.raises(LatentEditError, match=match):
        le.sheet(images, **options)


def test_pictures_for_pillow_are_clamped_and_rounded() -> None:
    images = torch.tensor([-1.53, -1.0, -0.5, 0.0, 0.999, 1.4]).expand(1, 3, 2, 6).requires_grad_()
    (one,) = le.to_pil(images)
    assert one.size == (6, 2) and one.mode == "RGB"
    assert np.asarray(one)[0, :, 0].tolist() == [0, 0, 64, 128, 255, 255]
    assert len(le.to_pil(images[0])) == 1 and le.to_pil(images[:0]) == []
    with pytest.raises(LatentEditError, match=r"\(2, 6\)"):
        le.to_pil(images[0, 0])
