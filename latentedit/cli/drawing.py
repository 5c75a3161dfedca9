"""Where a command's pictures go and how they are laid out: options that commands share, and the writing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli.common import OutFile, refuse_existing

if TYPE_CHECKING:
    from latentedit.directions.edits import Edit
    from latentedit.editing.editor import Editor
    from latentedit.editing.faces import PreparedFaces
    from latentedit.editing.layout import Layout

Command = Callable[..., Any]


@dataclass(frozen=True)
class AskedOutput:
    """The options of :func:`output_options`, as they were typed."""

    strip: bool
    steps: int
    tile: int | None
    out: Path | None
    force: bool

    def check(self) -> None:
        """Refuse before anything is loaded what :func:`check_place` refuses."""
        if self.out is not None:
            check_place(self.out, self.force)

    @property
    def layout(self) -> Layout:
        """How the picture is laid out."""
        from latentedit.editing.layout import Layout

        return Layout("strip" if self.strip else "sheet", self.steps, self.tile)

    def place(self, default: str) -> Path:
        """Where the picture goes: as named; else the default, or where that exists the next free name-2, name-3, ...

        Raises:
            LatentEditError: what was named exists, without ``--force``.
        """
        if self.out is not None:
            refuse_existing(self.out, self.force)
            return self.out
        out, number = Path(default), 1
        while out.exists() and not self.force:
            number += 1
            out = Path(default).with_stem(f"{Path(default).stem}-{number}")
        return out


def check_place(path: Path, force: bool) -> None:
    """Refuse a picture's file before the work.

    Raises:
        LatentEditError: a suffix that no picture has; a file that exists, without ``--force``.
    """
    from latentedit.pictures.writing import format_of

    format_of(path)
    refuse_existing(path, force)


def write_edits(
    out: Path, faces: PreparedFaces, editor: Editor, edits: Sequence[Edit], layout: Layout,
    *, text: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Draw edits and write the picture.

    Args:
        out: the file; its suffix says which format.
        faces: to edit.
        editor: edits them.
        edits: what is changed.
        layout: how it is shown.
        text: keys and texts that a PNG file carries, such as a recipe.
    """
    from latentedit.editing.layout import draw, draw_frames
    from latentedit.pictures.writing import MOVING, format_of, write_picture

    if layout.kind == "strip" and format_of(out) in MOVING:
        write_picture(out, draw_frames(faces, editor, edits, layout), text=text)
    else:
        write_picture(out, draw(faces, editor, edits, layout), text=text)


def output_options(command: Command) -> Command:
    """The options that say where a picture goes and how it is laid out, handed over as ``output``."""

    @functools.wraps(command)
    def wrapper(
        *given: Any, strip: bool, steps: int, tile: int | None, out: Path | None, force: bool, **rest: Any
    ) -> Any:
        return command(*given, output=AskedOutput(strip, steps, tile, out, force), **rest)

    options = [
        click.option(
            "--strip", is_flag=True,
            help="one column per strength, from -STRENGTH to +STRENGTH, instead of before and after; .gif and .webp "
            "move",
        ),
        click.option("--steps", type=click.IntRange(2, 25), default=7, show_default=True, help="strengths of a strip"),
        click.option(
            "--tile", type=click.IntRange(1), metavar="PX",
            help="longer side of a face on a sheet, by a whole factor or reduced  [default: small ones enlarged]",
        ),
        click.option(
            "--out", type=OutFile(".png"),
            help="a picture, as its suffix says: .png, .jpg, .webp, .avif, .tiff, .gif  [default: edit-TAG.png]",
        ),
        click.option("--force", is_flag=True, help="overwrite OUT"),
    ]  # fmt: skip
    for option in reversed(options):
        wrapper = option(wrapper)
    return wrapper
