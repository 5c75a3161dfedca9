"""Labelled pictures of edits: what ``latentedit edit`` and ``compare`` draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latentedit.directions.edits import Edit, EditLike, as_edits
from latentedit.directions.pairs import TagRelations
from latentedit.editing.editor import Editor, moves_of
from latentedit.editing.faces import PreparedFaces
from latentedit.pictures.images import grid


def edit_sheet(faces: PreparedFaces, editor: Editor, edits: EditLike, *, steps: int | None = None) -> Image.Image:
    """A labelled picture of edits.

    Without ``steps``: a column per face; rows: before, each edit, and all of them when there are several that do not
    exclude each other, as two hair colours do. With it: a row per face, columns from minus to plus the strengths along
    all edits together. Content pictures are shown beside what they belong to.

    Args:
        faces: to edit.
        editor: edits them.
        edits: what is changed.
        steps: columns of a strip.

    Raises:
        LatentEditError: an edit that the editor cannot do, or faces that cannot be decoded.
    """
    whole, codes = Edit(edits), faces.all_codes()
    if steps is None:
        variants = [*whole.parts, whole] if len(whole.parts) > 1 and go_together(whole) else list(whole.parts)
        rows = [faces.pictures(), *(faces.pictures(editor.edit(codes, one)) for one in variants)]
        pictures = torch.stack(rows)  # (rows, faces, 3, H, W)
        row_labels = ["before", *(f"+ {one.tag or 'all of them'}" for one in variants)]
        column_labels = list(faces.names)
    else:
        amounts = np.linspace(-1, 1, steps)
        strips = [faces.pictures(editor.edit(codes, whole * a)) for a in amounts.tolist()]
        pictures = torch.stack(strips, 1)  # (faces, steps, 3, H, W)
        row_labels, column_labels = list(faces.names), _strengths([whole], amounts)
    if (content := faces.content_pictures) is not None:
        pictures, row_labels, column_labels = _beside(pictures, content, row_labels, column_labels, steps)
    columns = pictures.shape[1]
    labels = {"row_labels": row_labels, "column_labels": column_labels}
    title = moves_text(whole, editor) if steps or go_together(whole) else ""  # else each row is for itself
    return grid(pictures.flatten(0, 1), columns, **labels, title=title)  # type: ignore[arg-type]


def go_together(edits: Edit) -> bool:
    """Whether no two of several edits ask for two tags of one group of the shipped ``pairs.toml``."""
    relations = TagRelations.load()
    tags = [one.tag for one in edits.parts if one.strength is None or one.strength > 0]
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
        return [f"{strength * a:+.3g}" for a in amounts]
    return [f"{a:+.2g} times" for a in amounts]


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
    blocks, amounts, codes = as_edits(edits), np.linspace(-1, 1, steps), faces.all_codes()
    for one in blocks:
        for name, editor in editors.items():
            paired = one.paired(editor.tags, relations)
            moved = [faces.pictures(editor.edit(codes, paired * a)) for a in amounts.tolist()]
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


def _beside(
    pictures: Tensor, content: Tensor, rows: list[str], columns: list[str], steps: int | None
) -> tuple[Tensor, list[str], list[str]]:
    """Pictures (rows, columns, 3, H, W) with those of the content: a row of them, or a column."""
    if len(content) > 1 and steps is None:
        return torch.cat([content[None], pictures]), ["content", *rows], columns
    beside = torch.ones(len(pictures), 1, *pictures.shape[2:])  # white
    beside[: len(content), 0] = content
    return torch.cat([beside, pictures], 1), rows, ["content", *columns]
