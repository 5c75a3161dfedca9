"""Where a command's pictures go and how they are laid out: options that commands share, and the writing."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli.common import GOES_ON, Context, OutFile, Place, cli, common, refuse_existing
from latentedit.cli.faces import content_option, label_option, with_all_contents
from latentedit.errors import LatentEditError

if TYPE_CHECKING:
    from latentedit.directions.edits import Edit
    from latentedit.editing.editor import Editor
    from latentedit.editing.faces import PreparedFaces
    from latentedit.editing.layout import Layout
    from latentedit.editing.sheets import Sides

Command = Callable[..., Any]


_FOLDER = "latentedit.folder"


class OutPlace(OutFile):
    """A picture's file, or a folder of pictures: one that exists, ends in a slash, or has no suffix."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; a context keeps whether it is a folder."""
        path = super().convert(value, param, ctx)
        if ctx is not None:
            ctx.meta[_FOLDER] = str(value).endswith(("/", os.sep)) or path.is_dir() or not path.suffix
        return path


@dataclass(frozen=True)
class Drawn:
    """What a command has written: for ``--json``, and in words."""

    document: dict[str, Any]
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class AskedOutput:
    """The options of :func:`output_options`, as they were typed."""

    strip: bool
    steps: int
    tile: int | None
    out: Path | None
    is_folder: bool
    sheet: Path | None
    force: bool
    base: Layout | None = None

    def check(self) -> None:
        """Refuse before anything is loaded what :func:`check_place` refuses.

        Raises:
            UsageError: options that mean nothing together.
            LatentEditError: a file where a folder is named.
        """
        from latentedit.files import destination
        from latentedit.pictures.writing import UnknownSuffixError

        if self.is_folder and self.strip and self.sheet is None:
            raise click.UsageError("a folder has a picture a face; --strip goes to a file, or name one with --sheet")
        if self.sheet is not None and not self.is_folder:
            raise click.UsageError("--sheet goes with --out DIR/, a picture a face; the sheet alone is --out FILE")
        if self.sheet is not None:
            check_place(self.sheet, self.force)
        if self.out is not None and not self.is_folder:
            try:
                check_place(self.out, self.force)
            except UnknownSuffixError as error:
                raise UnknownSuffixError(f"{error}, or in / for a folder") from error
        elif self.out is not None and self.out.exists() and not self.out.is_dir():
            destination(self.out)
            raise LatentEditError(f"{self.out} is a file; name a folder, or a picture as in {self.out}.png")

    @property
    def layout(self) -> Layout:
        """How the picture is laid out: as a recipe says, if there is one, else as was typed."""
        from latentedit.editing.layout import Layout

        return self.base or Layout("strip" if self.strip else "sheet", self.steps, self.tile)

    def place(self, default: str) -> Path:
        """Where the picture goes: as named; else the default, or where that exists the next free name-2, name-3, ...

        Raises:
            LatentEditError: what was named exists, without ``--force``.
        """
        if self.out is not None:
            if not self.is_folder:
                refuse_existing(self.out, self.force)
            return self.out
        out, number = Path(default), 1
        while out.exists() and not self.force:
            number += 1
            out = Path(default).with_stem(f"{Path(default).stem}-{number}")
        return out

    def write(
        self, context: Context, out: Path, faces: PreparedFaces, editor: Editor | None = None,
        edits: Sequence[Edit] = (), *, by: str = "", text: Mapping[str, str] | None = None,
        text_of: Callable[[int], Mapping[str, str]] | None = None, sides: Sides | None = None,
    ) -> Drawn:  # fmt: skip
        """Draw faces and write them: a picture of all, or one a face and its code, and their sheet where one is named.

        Args:
            context: of the command.
            out: the file or folder.
            faces: to draw.
            editor: edits them; None: as they are.
            edits: what is changed.
            by: what tells the editor from others.
            text: keys and texts that the PNG file of all carries, such as a recipe.
            text_of: of a face's number, what its own PNG file carries.
            sides: editors that a picture of all shows beside each other.
        """
        from latentedit.editing.folder import write_faces

        if not self.is_folder:
            write_drawing(out, faces, editor, edits, self.layout, text=text, sides=sides)
            return Drawn({"picture": str(out)}, f"wrote {out}")
        if self.sheet is not None:
            write_drawing(self.sheet, faces, editor, edits, self.layout, text=text, sides=sides)
        shown, at = context.progress("draw"), [0]

        def progress(done: int, total: int) -> None:
            at[0] = done
            if shown:
                shown(done, total)

        context.kept = lambda: f"{at[0]} of {len(faces)} faces are kept in {out}; {GOES_ON}"
        written = write_faces(out, faces, editor, edits, identity=by, text=text_of, force=self.force, progress=progress)
        n, kept = len(written.names), len(written.names) - written.drawn
        together = " after all edits together" if len(edits) > 1 else ""
        told = f"wrote {written.drawn} pictures and codes{together} to {out}"
        told += f", {kept} were there" if kept else ""
        told += f", and {self.sheet}" if self.sheet else ""
        document = {"folder": str(out), "faces": list(written.names), "drawn": written.drawn, "pictures": n}
        return Drawn(document | {"sheet": None if self.sheet is None else str(self.sheet)}, told)


def check_place(path: Path, force: bool) -> None:
    """Refuse a picture's file before the work.

    Raises:
        LatentEditError: a suffix that no picture has; a file that exists, without ``--force``.
    """
    from latentedit.pictures.writing import format_of

    format_of(path)
    refuse_existing(path, force)


def write_drawing(
    out: Path, faces: PreparedFaces, editor: Editor | None, edits: Sequence[Edit], layout: Layout,
    *, text: Mapping[str, str] | None = None, sides: Sides | None = None,
) -> None:  # fmt: skip
    """Draw edits and write the picture.

    Args:
        out: the file; its suffix says which format.
        faces: to edit.
        editor: edits them; None: as they are.
        edits: what is changed.
        layout: how it is shown.
        text: keys and texts that a PNG file carries, such as a recipe.
        sides: editors that are shown beside each other.
    """
    from latentedit.editing.layout import draw, draw_frames
    from latentedit.pictures.writing import MOVING, format_of, write_picture

    if editor is not None and layout.kind == "strip" and format_of(out) in MOVING:
        write_picture(out, draw_frames(faces, editor, edits, layout, sides=sides), text=text)
    else:
        write_picture(out, draw(faces, editor, edits, layout, sides=sides), text=text)


def output_options(*, default: str, strips: bool = True) -> Callable[[Command], Command]:
    """The options that say where pictures go and how they are laid out, handed over as ``output``.

    Args:
        default: where they go when nothing is named, as the help says it.
        strips: whether there are strips of strengths.
    """
    strip_options = [
        click.option(
            "--strip", is_flag=True,
            help="one column per strength, from -STRENGTH to +STRENGTH, instead of before and after; .gif and .webp "
            "move",
        ),
        click.option("--steps", type=click.IntRange(2, 25), default=7, show_default=True, help="strengths of a strip"),
    ]  # fmt: skip
    options = [
        *(strip_options if strips else []),
        click.option(
            "--tile", type=click.IntRange(1), metavar="PX",
            help="longer side of a face on a sheet, by a whole factor or reduced  [default: small ones enlarged]",
        ),
        click.option(
            "--out", type=OutPlace(".png"), metavar="PATH",
            help="a picture, as its suffix says (.png, .jpg, .webp, .avif, .tiff, .gif), or a folder, DIR/, of one "
            f"picture and its code a face  [default: {default}]",
        ),
        click.option(
            "--sheet", type=Place(), metavar="FILE",
            help="with --out DIR/: all in one picture as well",
        ),
        click.option("--force", is_flag=True, help="overwrite OUT"),
    ]  # fmt: skip

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapper(
            *given: Any, tile: int | None, out: Path | None, sheet: Path | None, force: bool, strip: bool = False,
            steps: int = 7, **rest: Any,
        ) -> Any:  # fmt: skip
            is_folder = out is not None and click.get_current_context().meta[_FOLDER]
            output = AskedOutput(strip, steps, tile, out, is_folder, sheet, force)
            return command(*given, output=output, **rest)

        for option in reversed(options):
            wrapper = option(wrapper)
        return wrapper

    return decorate


@cli.command()
@click.argument("codes", nargs=-1, required=True, type=Place())
@click.option("--generator", default="avatar", show_default=True, help="whose codes they are")
@content_option
@label_option
@click.option("-n", "--n", type=click.IntRange(1), metavar="N", help="the first ones  [default: all]")
@output_options(default="decode-CODES.png", strips=False)
@common
def decode(
    context: Context, codes: tuple[Path, ...], generator: str, content: str | None, label: int | None, n: int | None,
    output: AskedOutput,
) -> None:  # fmt: skip
    """Draw the faces of CODES: files of codes, as `convert` knows them, or folders of .npy files."""
    output.check()
    import torch

    from latentedit.directions.formats import codes_of_generator, read_named_codes
    from latentedit.editing.faces import Faces
    from latentedit.files import file_name

    files = [file for path in codes for file in (_codes_in(path) if path.is_dir() else [path])]
    g = context.generator(generator)
    layers = len(g.layers)
    read = [codes_of_generator(*read_named_codes(file), layers=layers, dim=g.dim, where=str(file)) for file in files]
    names = [name for some, _ in read for name in some][:n]
    shapes = {tuple(some.shape[1:]) for _, some in read}
    if len(shapes) > 1:
        raise LatentEditError(f"codes of shape {' and '.join(map(str, sorted(shapes)))}; decode one kind at a time")
    faces = Faces(codes=torch.cat([some for _, some in read])[:n], content=content, label=label)
    faces = with_all_contents(context, faces, len(names))
    out = output.place(f"{file_name(f'decode-{codes[0].resolve().stem}')}.png")
    prepared = faces.prepare(g, batch_size=context.batch_size)
    prepared.names = names if len(names) == len(prepared) else names * len(prepared)  # one code with several contents
    drawn = output.write(context, out, prepared)
    context.result(drawn.document, f"{drawn} ({len(prepared)} codes, {generator})")


def _codes_in(folder: Path) -> list[Path]:
    """Files of codes in a folder, in the order of their names' numbers.

    Raises:
        LatentEditError: there are none.
    """
    from latentedit.files import visible_files

    found = sorted(
        visible_files(folder, "*.npy"),
        key=lambda path: [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", path.name))],
    )
    if not found:
        raise LatentEditError(f"no .npy file in {folder}; name files of codes, or a folder of them")
    return found
