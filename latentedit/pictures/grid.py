"""Many pictures as one: in rows and columns with headings, wrapped where there are many."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from latentedit.errors import LatentEditError
from latentedit.pictures.headings import Heading, headings, longest_word
from latentedit.pictures.images import to_uint8

_GAP, _BETWEEN = 2, 12
_SMALL = 128  # pictures are enlarged while they stay within it
_IN_A_ROW = 10
_RATIO = 1.5  # of a sheet's width to its height


def sheet(
    images: Tensor, labels: Sequence[object] = (), *, columns: int | None = None, tile: int | None = None
) -> Image.Image:
    """Pictures as one picture, a label above each; a notebook shows it by itself.

    Args:
        images: (n, 3, H, W), or one (3, H, W), in [-1, 1]; values beyond are clamped.
        labels: one a picture, or none.
        columns: pictures in a row; None: about half as wide again as high.
        tile: pixels of a picture's longer side: enlarged by a whole factor up to it, or reduced to it; None: small
            ones enlarged, up to 128.

    Raises:
        LatentEditError: another shape or number of labels, no picture, columns or a tile below 1, more than a picture
            file may hold.
    """
    given = images[None] if images.ndim == 3 else images
    if given.ndim != 4 or given.shape[1] != 3 or not len(given):
        raise LatentEditError(f"pictures of shape {tuple(images.shape)}; they are (n, 3, H, W), or one (3, H, W)")
    if len(labels) not in (0, len(given)):
        raise LatentEditError(f"{len(labels)} labels for {len(given)} pictures; give one a picture, or none")
    if columns is not None and columns < 1:
        raise LatentEditError(f"{columns} columns; a sheet has 1 or more")
    beside = columns or balanced(len(given), 1)
    return grid(given.detach(), len(given), column_labels=[str(label) for label in labels], wrap=beside, tile=tile)


def grid(
    images: Tensor,
    columns: int,
    *,
    column_labels: Sequence[str] = (),
    row_labels: Sequence[str] = (),
    title: str = "",
    tile: int | None = None,
    wrap: int | None = None,
    fold: int | None = None,
) -> Image.Image:
    """Pictures as one labelled picture, row by row.

    Args:
        images: (n, 3, H, W), float in [-1, 1] or uint8; as many as rows times ``columns``; the last row may be shorter.
        columns: pictures in a row.
        column_labels: text above each column; none for no labels.
        row_labels: text left of each row; none for no labels.
        title: text above everything.
        tile: as :func:`sheet` takes it.
        wrap: columns beside each other; what follows them stands below, under its own labels.
        fold: rows below each other; what follows them stands on the right, with its own labels.

    Raises:
        LatentEditError: a tile below 1, or more than a picture file may hold.
    """
    pixels = images.permute(0, 2, 3, 1).cpu().numpy() if images.dtype == torch.uint8 else to_uint8(images)
    n, (width, height) = len(pixels), tile_size(pixels.shape[2], pixels.shape[1], tile)
    rows, size = -(-n // columns), max(11, width // 10)
    check_size(n, width, height)
    across = max(width, min(longest_word(column_labels, size), 72) + 4 if column_labels else 0)
    above = headings(column_labels, across - 2, size)
    beside = headings(row_labels, max(160, 2 * width), size)
    down = max([height, *(heading.size[1] for heading in beside)])
    head = max((heading.size[1] + 4 for heading in above), default=0)
    left = max((heading.size[0] + 8 for heading in beside), default=0)
    wrap, fold = min(wrap or columns, columns), min(fold or rows, rows)
    block = left + wrap * (across + _GAP), head + fold * (down + _GAP)
    over, along = -(-columns // wrap), -(-rows // fold)
    whole = [one * count + _BETWEEN * (count - 1) for one, count in zip(block, (along, over), strict=True)]
    top = headings([title], whole[0] - 8, size) if title else []
    start = sum(heading.size[1] + 4 for heading in top)
    page = Image.new("RGB", (whole[0], start + whole[1]), "white")
    draw = ImageDraw.Draw(page)
    for heading in top:
        _write(draw, heading, (max(4, min(left, whole[0] - heading.size[0] - 4)), 1), "la")
    for b in range(over * along):
        x, y = left + b // over * (block[0] + _BETWEEN), start + head + b % over * (block[1] + _BETWEEN)
        for i, heading in enumerate(above[b % over * wrap :][:wrap]):
            _write(draw, heading, (x + i * (across + _GAP) + across // 2, y - 3), "md")
        for i, heading in enumerate(beside[b // over * fold :][:fold]):
            _write(draw, heading, (x - 6, y + i * (down + _GAP) + down // 2), "rm")
        for i, j in np.ndindex(fold, wrap):
            row, column = i + b // over * fold, j + b % over * wrap
            if row < rows and column < columns and (k := row * columns + column) < n:
                place = x + j * (across + _GAP) + (across - width) // 2, y + i * (down + _GAP) + (down - height) // 2
                page.paste(_resized(pixels[k], width, height), place)
    return page


def balanced(n: int, rows: float) -> int:
    """Columns beside each other of n columns of some rows, so that the whole is half as wide again as high."""
    if n <= _IN_A_ROW:
        return n
    beside = min(n, max(_IN_A_ROW, math.ceil(math.sqrt(_RATIO * n * rows))))
    return -(-n // -(-n // beside))  # the same number in every row, as far as that goes


def folded(n: int, columns: float) -> int:
    """Rows below each other of n rows of some columns, so that the whole is half as wide again as high."""
    if n <= _IN_A_ROW:
        return n
    return -(-n // max(1, round(math.sqrt(_RATIO * n / columns))))


def tile_size(width: int, height: int, tile: int | None) -> tuple[int, int]:
    """Width and height of a picture on a sheet: as it is, a whole number of times that, or reduced to a tile.

    Raises:
        LatentEditError: a tile below 1.
    """
    side = max(width, height)
    if tile is not None and tile < 1:
        raise LatentEditError(f"a tile of {tile} pixels; it takes 1 or more")
    if tile is None or tile >= side:
        factor = max(1, (tile or _SMALL) // side)
        return width * factor, height * factor
    return max(1, round(width * tile / side)), max(1, round(height * tile / side))


def check_size(pictures: int, width: int, height: int) -> None:
    """Refuse a sheet that is larger than Pillow reads without a warning.

    Raises:
        LatentEditError: it is.
    """
    most, pixels = Image.MAX_IMAGE_PIXELS or 1 << 27, pictures * (width + _GAP) * (height + _GAP)
    if pixels > most:
        raise LatentEditError(
            f"a sheet of {pictures} pictures of {width} x {height} pixels has {pixels / 1e6:.0f} megapixels, more than "
            f"the {most / 1e6:.0f} that are read everywhere; take fewer, a smaller tile, or a file each"
        )


def _write(draw: ImageDraw.ImageDraw, heading: Heading, place: tuple[int, int], anchor: str) -> None:
    align = {"l": "left", "m": "center", "r": "right"}[anchor[0]]
    draw.multiline_text(place, heading.text, fill="black", font=heading.font, anchor=anchor, align=align)


def _resized(pixels: np.ndarray, width: int, height: int) -> Image.Image:
    picture = Image.fromarray(pixels)
    larger = width >= picture.width
    return picture.resize((width, height), Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS)
