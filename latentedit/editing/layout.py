"""How edits are laid out in a picture: a sheet, a strip of strengths, or one face alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PIL import Image

from latentedit.directions.edits import EditLike
from latentedit.editing.editor import Editor, edit
from latentedit.editing.faces import PreparedFaces
from latentedit.editing.sheets import Sides, beside_sheet, edit_sheet, faces_sheet, strip_frames
from latentedit.errors import LatentEditError
from latentedit.pictures.images import to_pil


@dataclass(frozen=True)
class Layout:
    """How a picture shows edits; a recipe holds it.

    Attributes:
        kind: "sheet": faces before and after each edit; "strip": a row a face, a column a strength; "single": one
            face after all edits together, and nothing else.
        steps: columns of a strip, 2 or more.
        tile: pixels of a face's longer side on a sheet or strip; None: as wide as it is, small ones enlarged.
        labels: whether a sheet or strip has headings.

    Raises:
        LatentEditError: another kind, steps below 2, a tile below 1.
    """

    kind: Literal["sheet", "strip", "single"] = "sheet"
    steps: int = 7
    tile: int | None = None
    labels: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("sheet", "strip", "single"):
            raise LatentEditError(f"layout {self.kind!r}; choose sheet, strip or single")
        if self.steps < 2:
            raise LatentEditError(f"a strip of {self.steps} steps; it takes 2 or more")
        if self.tile is not None and self.tile < 1:
            raise LatentEditError(f"a tile of {self.tile} pixels; it takes 1 or more")


def draw(
    faces: PreparedFaces, editor: Editor | None, edits: EditLike, layout: Layout, *, sides: Sides | None = None
) -> Image.Image:
    """A picture of edits.

    Args:
        faces: to edit; exactly one for a single picture.
        editor: edits them; None: they are shown as they are.
        edits: what is changed.
        layout: how it is shown.
        sides: the editors that a sheet or strip shows beside each other, this one among them; None for it alone.

    Raises:
        LatentEditError: an edit that an editor cannot do, faces that cannot be decoded, several faces for one picture,
            a strip of no editor.
    """
    if layout.kind == "single":
        if len(faces) != 1:
            raise LatentEditError(f"{len(faces)} faces for one picture; give one, or lay them out as a sheet")
        codes = faces.all_codes()
        return to_pil(faces.pictures(codes if editor is None else edit(codes, editor, edits)))[0]
    if editor is None:
        if layout.kind == "strip":
            raise LatentEditError("a strip shows strengths, and faces as they are have none; choose sheet or single")
        return faces_sheet(faces, tile=layout.tile, headed=layout.labels)
    steps = layout.steps if layout.kind == "strip" else None
    if sides:
        return beside_sheet(faces, sides, steps=steps, tile=layout.tile, headed=layout.labels)
    return edit_sheet(faces, editor, edits, steps=steps, tile=layout.tile, headed=layout.labels)


def draw_frames(
    faces: PreparedFaces, editor: Editor, edits: EditLike, layout: Layout, *, sides: Sides | None = None
) -> list[Image.Image]:
    """A strip as pictures of one size that follow each other, one a strength; see :func:`draw`.

    Raises:
        LatentEditError: as :func:`draw`, and another layout than a strip.
    """
    if layout.kind != "strip":
        raise LatentEditError(f"a {layout.kind} does not move; a strip does")
    shown = sides or {"": (editor, edits)}
    return strip_frames(faces, shown, steps=layout.steps, tile=layout.tile, headed=layout.labels)
