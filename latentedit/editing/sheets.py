"""Labelled pictures of edits: what ``latentedit edit`` draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latentedit.directions.bank import DirectionBank
from latentedit.directions.formats import read_named_codes
from latentedit.directions.pairs import TagKnowledge
from latentedit.editing.editor import DEFAULT_STRENGTH, edit, strengths_of
from latentedit.errors import LatentEditError
from latentedit.generators import Generator
from latentedit.generators.base import content_of_label, per_slot
from latentedit.pictures.images import grid, list_pictures, read_picture


@dataclass(frozen=True)
class Faces:
    """What an edit starts from.

    Attributes:
        codes: (n, dim) or (n, layers, dim).
        names: of each, as the sheet shows them.
        content: (1, ...) for all, (n, ...) for each, or None for the generator's own.
        pictures: that the content came from, (1 or n, 3, H, W); None when it came from none.
    """

    codes: Tensor
    names: tuple[str, ...]
    content: Tensor | None = None
    pictures: Tensor | None = None


def seeded_faces(
    generator: Generator,
    seeds: Sequence[int],
    *,
    content: str | Path | None = None,
    label: int | None = None,
    truncation: float = 1.0,
) -> Faces:
    """Faces of seeds.

    Args:
        generator: draws the codes.
        seeds: one a face.
        content: picture, frame of a video (``clip.mp4#t=12.5``), or folder whose pictures the faces take in
            turn, for image-to-image generators.
        label: class, for conditional generators.
        truncation: 1 for none, towards 0 for the mean code.

    Raises:
        LatentEditError: content that cannot be read or a generator that takes none; no such class.
    """
    codes = generator.sample_codes(list(seeds), label=label, truncation=truncation)
    return with_content(generator, codes, tuple(f"seed {seed}" for seed in seeds), content=content, label=label)


def named_faces(
    generator: Generator,
    *,
    codes: str | Path | None = None,
    style: str | Path | None = None,
    content: str | Path | None = None,
    label: int | None = None,
    count: int = 64,
) -> Faces:
    """Faces of a file of style codes, or of pictures whose style is read.

    Args:
        generator: that the codes are of.
        codes: a file that :func:`latentedit.directions.formats.read_named_codes` reads.
        style: a picture, or a folder of them, for generators that read styles.
        content, label: see :func:`seeded_faces`.
        count: only that many first ones.

    Raises:
        LatentEditError: codes of another shape; a generator that reads no styles; pictures that cannot be read.
    """
    if codes is not None:
        names, read = read_named_codes(codes)
        per_slot(read, len(generator.layers), generator.dim)  # or it says what fits
        names, read = names[:count], read[:count]
    else:
        assert style is not None
        read, names = codes_of_pictures(generator, style, count=count)
    return with_content(generator, read, names, content=content, label=label)


def codes_of_pictures(generator: Generator, pictures: str | Path, *, count: int = 64) -> tuple[Tensor, tuple[str, ...]]:
    """Style codes (n, dim) of a picture, or of the ``count`` first of a folder, and the files' names.

    For generators that read styles: by ``encode_reference(images) -> z``, ``invert(images) -> codes``, or the
    second of what ``encode(images)`` gives.

    Raises:
        LatentEditError: the generator cannot, or a picture cannot be read.
    """
    files = [Path(p) for p in (list_pictures(pictures)[:count] if Path(pictures).is_dir() else [pictures])]
    images = torch.stack([read_picture(file, generator.resolution) for file in files])
    names = tuple(file.name for file in files)
    if (invert := getattr(generator, "invert", None)) is not None:
        return invert(images), names
    if (reference := getattr(generator, "encode_reference", None)) is not None:
        return generator.map(reference(images)), names
    if (encode := getattr(generator, "encode", None)) is not None:
        return generator.map(encode(images)[1]), names
    raise LatentEditError(f"{generator.id} cannot read styles of pictures; it has no encoder")


def with_content(
    generator: Generator,
    codes: Tensor,
    names: tuple[str, ...],
    *,
    content: str | Path | None = None,
    label: int | None = None,
) -> Faces:
    """Faces of codes; see :func:`seeded_faces`."""
    if content is None:
        return Faces(codes, names, content_of_label(generator, label))
    encode = getattr(generator, "encode", None)
    if encode is None:
        raise LatentEditError(f"{generator.id} makes pictures from codes alone; it takes no content picture")
    files = list_pictures(content) if Path(content).is_dir() else [content]
    files = files[: len(codes)]
    pictures = torch.stack([read_picture(file, generator.resolution) for file in files])
    encoded = torch.cat([encode(picture[None])[0] for picture in pictures])
    if len(files) > 1:
        turns = [i % len(files) for i in range(len(codes))]
        pictures, encoded = pictures[turns], encoded[turns]
    return Faces(codes, names, encoded, pictures)


def edit_sheet(
    generator: Generator,
    bank: DirectionBank,
    tags: Sequence[str],
    faces: Faces,
    *,
    strength: float = DEFAULT_STRENGTH,
    opposite: str | None = "auto",
    layers: str | None = None,
    unit: str = "sigma",
    steps: int | None = None,
    batch_size: int = 32,
    knowledge: TagKnowledge | None = None,
) -> tuple[Image.Image, dict[str, float]]:
    """A labelled picture of edits, and the strengths that were used.

    Without ``steps``: a column per face; rows: before, each tag, and all of them when there are
    several. With ``steps``: a row per face, columns from ``-strength`` to ``+strength`` along all tags.
    Content pictures are shown beside what they belong to.

    Args:
        generator, bank: what is edited, and along what.
        tags: at least one.
        faces: to edit.
        strength, opposite, layers, unit, knowledge: see :func:`latentedit.edit`.
        steps: columns of a strip.
        batch_size: pictures decoded at once.

    Raises:
        LatentEditError: unknown tag, layer or unit.
    """
    moves: dict[str, float] = {}
    for tag in tags:
        for name, value in strengths_of(bank, tag, strength=strength, opposite=opposite, knowledge=knowledge).items():
            moves[name] = moves.get(name, 0.0) + value

    def decode(chosen: Sequence[str], amount: float) -> Tensor:
        moved = edit(
            faces.codes, bank, chosen, strength=amount, opposite=opposite, layers=layers, unit=unit, knowledge=knowledge
        )
        return _decode(generator, moved, faces.content, batch_size)

    if steps is None:
        variants = [((), "before"), *(((tag,), tag) for tag in tags)]
        if len(tags) > 1:
            variants.append((tuple(tags), "all of them"))
        pictures = torch.stack([decode(chosen, strength) for chosen, _ in variants])  # (rows, faces, 3, H, W)
        row_labels = ["before", *(f"+ {name}" for _, name in variants[1:])]
        column_labels = list(faces.names)
    else:
        amounts = np.linspace(-strength, strength, steps)
        pictures = torch.stack([decode(tags, float(a)) for a in amounts], 1)  # (faces, steps, 3, H, W)
        row_labels, column_labels = list(faces.names), [f"{a:+.3g}" for a in amounts]
    if faces.pictures is not None:
        pictures, row_labels, column_labels = _beside(pictures, faces.pictures.cpu(), row_labels, column_labels, steps)
    title = " ".join(f"{value:+.3g} {'' if unit == 'raw' else 'σ '}{tag}" for tag, value in moves.items())
    columns = pictures.shape[1]
    sheet = grid(pictures.flatten(0, 1), columns, row_labels=row_labels, column_labels=column_labels, title=title)
    return sheet, moves


def sides_sheet(rows: Sequence[tuple[str, Tensor, Tensor]], left: str, right: str, *, columns: int = 4) -> Image.Image:
    """A labelled picture with two sides: a row each of (name, pictures of the left side, pictures of the right side).

    Args:
        rows: at least one; pictures (n, 3, H, W) in [-1, 1], the first ``columns`` of them are shown.
        left, right: what the sides are, above them.
        columns: pictures of a side.
    """
    size = next(side.shape[1:] for _, *sides in rows for side in sides if len(side))
    cells = []
    for _, *sides in rows:
        for i, side in enumerate(sides):
            blank = torch.ones(columns + i, *size)  # white; the right side begins with a gap
            blank[i : i + len(side[:columns])] = side[:columns]
            cells.append(blank)
    labels = [left, *[""] * columns, right, *[""] * (columns - 1)]
    return grid(torch.cat(cells), 2 * columns + 1, row_labels=[name for name, *_ in rows], column_labels=labels)


def _decode(generator: Generator, codes: Tensor, content: Tensor | None, batch_size: int) -> Tensor:
    """Pictures (n, 3, H, W) on the CPU, ``batch_size`` at a time."""
    pictures = []
    for start in range(0, len(codes), batch_size):
        rows = slice(start, start + batch_size)
        if content is None:
            pictures.append(generator.decode(codes[rows]).cpu())
        else:
            shown = content if len(content) == 1 else content[rows]
            pictures.append(generator.decode(codes[rows], content=shown).cpu())
    return torch.cat(pictures)


def _beside(
    pictures: Tensor, content: Tensor, rows: list[str], columns: list[str], steps: int | None
) -> tuple[Tensor, list[str], list[str]]:
    """Pictures (rows, columns, 3, H, W) with those of the content: a row of them, or a column."""
    if len(content) > 1 and steps is None:
        return torch.cat([content[None], pictures]), ["content", *rows], columns
    beside = torch.ones(len(pictures), 1, *pictures.shape[2:])  # white
    beside[: len(content), 0] = content
    return torch.cat([beside, pictures], 1), rows, ["content", *columns]
