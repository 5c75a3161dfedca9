"""Labelled pictures of edits: what ``latentedit edit`` and ``compare`` draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latentedit.directions.edits import Edit, EditLike, as_edits
from latentedit.directions.pairs import TagRelations
from latentedit.editing.editor import Editor, edit, explicit_for, moves_of
from latentedit.editing.faces import PreparedFaces
from latentedit.generators.base import picture_size
from latentedit.pictures.grid import balanced, check_size, folded, grid, tile_size
from latentedit.pictures.images import quantised

Sides: TypeAlias = Mapping[str, tuple[Editor, EditLike]]
"""Editors that are shown beside each other: name → editor and its edits."""


def edit_sheet(
    faces: PreparedFaces,
    editor: Editor,
    edits: EditLike,
    *,
    steps: int | None = None,
    tile: int | None = None,
    headed: bool = True,
) -> Image.Image:
    """A labelled picture of edits.

    Without ``steps``: a column per face; rows: before, each edit, and all of them when there are several that do not
    exclude each other, as two hair colours do. With it: a row per face, columns from minus to plus the strengths along
    all edits together. Content pictures are shown beside what they belong to; one face with several contents is a
    character sheet, whose columns bear the contents' names. Many faces are wrapped.

    Args:
        faces: to edit.
        editor: edits them.
        edits: what is changed.
        steps: columns of a strip.
        tile: pixels of a picture's longer side, as :func:`~latentedit.pictures.grid.sheet` takes it.
        headed: whether there are labels and a title.

    Raises:
        LatentEditError: an edit that the editor cannot do, or faces that cannot be decoded.
    """
    whole, n = Edit(edits), len(faces)
    content = faces.content_pictures
    if steps is None:
        variants = _variants(whole)
        labels = ["before", *(f"+ {one.tag or 'all of them'}" for one in variants)]
        _check_size(faces, (len(labels) + 1) * n, tile)
        rows = [drawn(faces), *(drawn(faces, editor, one) for one in variants)]
        pictures, names = torch.stack(rows), _names(faces)  # (rows, faces, 3, H, W)
        if content is not None and len(content) > 1:
            pictures, labels = torch.cat([quantised(content)[None], pictures]), ["content", *labels]
        elif content is not None:
            pictures, names = _beside(pictures, content), ["content", *names]
        cut = {"wrap": balanced(pictures.shape[1], len(pictures))}
    else:
        whole, amounts = explicit_for(editor, whole), np.linspace(-1, 1, steps)
        _check_size(faces, steps * n, tile)
        strips = [drawn(faces, editor, whole * a) for a in amounts.tolist()]
        pictures, labels = torch.stack(strips, 1), _names(faces)  # (faces, steps, 3, H, W)
        names = _strengths([whole], amounts)
        if content is not None:
            pictures, names = _beside(pictures, content), ["content", *names]
        cut = {"fold": folded(n, pictures.shape[1])}
    title = moves_text(whole, editor) if steps or go_together(whole) else ""  # else each row is for itself
    if _is_character(faces):
        title = f"{faces.names[0]}: {title}" if title else faces.names[0]
    shown = {"row_labels": labels, "column_labels": names, "title": title} if headed else {}
    return grid(pictures.flatten(0, 1), pictures.shape[1], tile=tile, **cut, **shown)  # type: ignore[arg-type]


def strip_frames(
    faces: PreparedFaces, sides: Sides, *, steps: int, tile: int | None = None, headed: bool = True
) -> list[Image.Image]:
    """A strip as pictures of one size that follow each other: a sheet a strength, a column a face, a row an editor.

    Args:
        faces: to edit.
        sides: name → editor and its edits.
        steps: how many pictures, from minus to plus the strengths.
        tile: pixels of a face's longer side, as :func:`~latentedit.pictures.grid.sheet` takes it.
        headed: whether faces are named, editors if there are several, and strengths.

    Raises:
        LatentEditError: an edit that an editor cannot do, or faces that cannot be decoded.
    """
    content, amounts = faces.content_pictures, np.linspace(-1, 1, steps)
    beside = content is not None and len(content) == 1
    above = [] if content is None or beside else [quantised(content)]
    columns = [*(["content"] if beside else []), *_names(faces)]
    rows = [*(["content"] if above else []), *(sides if len(sides) > 1 else [""])]
    _check_size(faces, len(rows) * len(columns), tile)
    wholes = [(editor, explicit_for(editor, edits)) for editor, edits in sides.values()]
    found = []
    for amount, strength in zip(amounts.tolist(), _strengths([wholes[0][1]], amounts), strict=True):
        pictures = torch.stack([*above, *(drawn(faces, editor, whole * amount) for editor, whole in wholes)])
        if beside and content is not None:
            pictures = _beside(pictures, content)
        shown = {"column_labels": columns, "title": strength, "row_labels": rows if any(rows) else ()} if headed else {}
        wrap = balanced(pictures.shape[1], len(pictures))
        found.append(grid(pictures.flatten(0, 1), len(columns), tile=tile, wrap=wrap, **shown))  # type: ignore[arg-type]
    return found


def beside_sheet(
    faces: PreparedFaces, sides: Sides, *, steps: int | None = None, tile: int | None = None, headed: bool = True
) -> Image.Image:
    """The same faces by several editors, side by side.

    Without ``steps``: a row a face; columns: before, then each edit by every editor. With it: a row a face and editor,
    a column a strength of all edits together. Content pictures are shown before what they belong to.

    Args:
        faces: to edit.
        sides: name → editor and its edits, as many for each.
        steps: columns of a strip.
        tile: pixels of a picture's longer side, as :func:`~latentedit.pictures.grid.sheet` takes it.
        headed: whether there are labels and a title.

    Raises:
        LatentEditError: an edit that an editor cannot do, or faces that cannot be decoded.
    """
    wholes, n, names = {name: explicit_for(*side) for name, side in sides.items()}, len(faces), _names(faces)
    first, content = next(iter(wholes.values())), faces.content_pictures
    if steps is None:
        lists = {name: _variants(whole) for name, whole in wholes.items()}
        places = [(name, i) for i in range(len(_variants(first))) for name in sides]
        _check_size(faces, (len(places) + 2) * n, tile)
        pictures = torch.stack([drawn(faces), *(drawn(faces, sides[name][0], lists[name][i]) for name, i in places)], 1)
        named = len(_variants(first)) > 1
        columns = [
            "before",
            *((f"{lists[name][i].tag or 'all of them'}: " if named else "") + name for name, i in places),
        ]
        rows = names
    else:
        amounts, m = np.linspace(-1, 1, steps), len(sides)
        _check_size(faces, m * (steps + 1) * n, tile)
        strips = [
            torch.stack([drawn(faces, sides[name][0], whole * a) for name, whole in wholes.items()], 1)
            for a in amounts.tolist()
        ]  # (faces, editors, 3, H, W) each
        pictures, columns = torch.stack(strips, 2).flatten(0, 1), _strengths([first], amounts)
        rows = [f"{one}: {name}" for one in names for name in sides]
        content = None if content is None else content.repeat_interleave(m if len(content) > 1 else 1, 0)
    if content is not None:
        pictures, columns = _beside(pictures, content), ["content", *columns]
    title = "; ".join(f"{name}: {moves_text(whole, sides[name][0])}" for name, whole in wholes.items())
    shown = {"row_labels": rows, "column_labels": columns, "title": title if go_together(first) else ""}
    fold = folded(len(rows), len(columns)) if steps is None else m * folded(n, len(columns) / m)
    return grid(pictures.flatten(0, 1), len(columns), tile=tile, fold=fold, **(shown if headed else {}))  # type: ignore[arg-type]


def _variants(whole: Edit) -> list[Edit]:
    """Each of several edits, and all of them when no two exclude each other."""
    return [*whole.parts, whole] if len(whole.parts) > 1 and go_together(whole) else list(whole.parts)


def faces_sheet(faces: PreparedFaces, *, tile: int | None = None, headed: bool = True) -> Image.Image:
    """A labelled picture of faces as they are.

    Args:
        faces: to draw.
        tile: pixels of a face's longer side, as :func:`~latentedit.pictures.grid.sheet` takes it.
        headed: whether they are named.

    Raises:
        LatentEditError: faces that cannot be decoded.
    """
    n = len(faces)
    _check_size(faces, n, tile)
    return grid(
        drawn(faces), n, column_labels=_names(faces) if headed else (), tile=tile, wrap=balanced(n, 1)
    )  # fmt: skip


def _names(faces: PreparedFaces) -> list[str]:
    """What faces are called: one style with several contents by these."""
    if not _is_character(faces):
        return list(faces.names)
    paths = [faces.content_path(i) for i in range(len(faces))]
    return [path.stem if path else "" for path in paths]


def _is_character(faces: PreparedFaces) -> bool:
    """Whether there is one style with several contents."""
    return len(faces) > 1 and faces.several_contents and faces.one_style


def drawn(faces: PreparedFaces, editor: Editor | None = None, edits: EditLike = ()) -> Tensor:
    """Faces after an edit, or as they are without an editor: (n, 3, H, W) uint8, a batch at a time."""
    found = []
    for rows in faces.batches():
        codes = faces.codes(rows)
        found.append(quantised(faces.decode(codes if editor is None else edit(codes, editor, edits), rows)).cpu())
    return torch.cat(found)


def go_together(edits: Edit) -> bool:
    """Whether no two of several edits ask for two tags of one group of the shipped ``pairs.toml``."""
    tags = [one.tag for one in edits.parts if one.strength is None or one.strength > 0]
    relations = TagRelations.load().spelled_as(tags)
    return not any(b in relations.group_of(a) for i, a in enumerate(tags) for b in tags[i + 1 :])


def moves_text(edits: EditLike, editor: Editor, *, digits: str = ".3g", between: str = " ") -> str:
    """What an editor moves, and how far, such as ``+3 σ long_hair -1 σ short_hair``, or ``long_hair to 0.7``."""
    moves = moves_of(editor, edits)
    texts = [f"{strength:+{digits}} {unit + ' ' if unit else ''}{tag}" for (tag, unit), strength in moves.items()]
    for one in Edit(edits).paired(editor.tags).parts:
        if one.goal is not None:
            texts.append(f"{one.tag} to {one.goal}" + (f" away from {one.opposite}" if one.opposite else ""))
    return between.join(texts)


def _strengths(edits: Sequence[Edit], amounts: np.ndarray) -> list[str]:
    """Strengths of a strip's columns: of the edits where all have one, else how many times their own."""
    strengths = {(part * 1).strength for one in edits for part in one.parts}
    if len(strengths) == 1 and (strength := strengths.pop()) is not None:
        return [f"{strength * a:+.3g}" if a else "0" for a in amounts]
    return [f"{a:+.2g} times" if a else "0 times" for a in amounts]


def editors_sheet(
    faces: PreparedFaces,
    editors: Mapping[str, Editor],
    edits: EditLike,
    *,
    steps: int = 7,
    relations: TagRelations | None = None,
) -> Image.Image:
    """The same faces by every editor: a block of rows an edit, a row an editor and face, a column a strength.

    Args:
        faces: to edit.
        editors: name → editor.
        edits: one block each.
        steps: columns, from minus to plus the strength of each edit.
        relations: from which opposites come; the shipped ones when None.
    """
    rows, labels = [], []
    blocks, amounts = as_edits(edits), np.linspace(-1, 1, steps)
    for one in blocks:
        for name, editor in editors.items():
            paired = one.paired(editor.tags, relations)
            moved = [drawn(faces, editor, paired * a) for a in amounts.tolist()]
            for j in range(len(faces)):
                rows.append(torch.stack([pictures[j] for pictures in moved]))
                labels.append(f"{one}: {name}" if j == 0 else "")
    units = {unit for editor in editors.values() for one in blocks for _, unit in moves_of(editor, one)}
    sigmas = units == {"σ"}
    columns = [f"{text} σ" if sigmas and "times" not in text else text for text in _strengths(blocks, amounts)]
    return grid(torch.cat(rows), steps, row_labels=labels, column_labels=columns)


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


def _beside(pictures: Tensor, content: Tensor) -> Tensor:
    """Pictures (rows, columns, 3, H, W) uint8 with a column of content pictures before them."""
    beside = torch.full((len(pictures), 1, *pictures.shape[2:]), 255, dtype=torch.uint8)  # white
    beside[: len(content), 0] = quantised(content)
    return torch.cat([beside, pictures], 1)


def _check_size(faces: PreparedFaces, pictures: int, tile: int | None) -> None:
    """Refuse a sheet that would be too large, before the work."""
    height, width = picture_size(faces.generator)
    check_size(pictures, *tile_size(width, height, tile))
