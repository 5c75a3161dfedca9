"""``edit``, and the options that say what is edited and by what, which other commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli.common import Context, cli, common, how_many, recorded_generator
from latentedit.cli.drawing import AskedOutput, output_options, write_edits

if TYPE_CHECKING:
    from latentedit.directions.edits import Edit
    from latentedit.directions.pairs import TagRelations
    from latentedit.editing.editors import OwnEditor
    from latentedit.generators import Generator

Command = Callable[..., Any]
OWN = Path("directions")
"""Where one's own directions and priors are looked for."""
SHIPPED = "shipped"


@dataclass(frozen=True)
class AskedEdits:
    """The options of :func:`edit_options`, as they were typed."""

    texts: tuple[str, ...]
    strength: float | None
    opposite: str | None
    no_opposite: bool
    layers: str | None
    raw: bool
    pairs: Path | None

    @property
    def relations(self) -> TagRelations:
        """Pairs and groups of tags: the user's, else the shipped ones."""
        from latentedit.directions.pairs import TagRelations

        return TagRelations.load(self.pairs)

    def edits(self, tags: Iterable[str], *, default: Iterable[str] = ()) -> list[Edit]:
        """The edits that were asked for, each as its text says, and as the other options say where that is silent.

        Args:
            tags: that the editor knows.
            default: tags to edit where none was named.

        Raises:
            LatentEditError: a text that is no edit, or an opposite whose ratio is no number.
        """
        from latentedit.directions.edits import Edit, parse_opposite

        tags = list(tags)
        opposite, ratio = (None, None) if self.no_opposite else parse_opposite(self.opposite or "auto", tags)
        said = [Edit.parse(text, tags=tags) for text in self.texts] or [Edit(tag) for tag in default]
        return [
            part.filled(
                strength=self.strength, opposite=opposite, ratio=ratio, layers=self.layers,
                unit="raw" if self.raw else "sigma",
            )
            for one in said
            for part in one.parts
        ]  # fmt: skip


def edit_options(*, required: bool = False) -> Callable[[Command], Command]:
    """The options that say what is edited and how far, handed over as ``asked``."""
    options = [
        click.option(
            "--tag", "texts", multiple=True, required=required, metavar="EDIT",
            help="what to add: a tag, or as in 'long_hair=2 -short_hair/3 @0-3', by a prior also 'smile>0.8 !glasses'; "
            "repeat it for several",
        ),
        click.option("--strength", type=float, help="of lines in σ; negative goes the other way  [default: 3]"),
        click.option(
            "--opposite", metavar="TAG[:RATIO]",
            help="tag to take away  [default: the tag's usual opposite, if it has one]",
        ),
        click.option("--no-opposite", is_flag=True, help="move along the tag's direction alone"),
        click.option(
            "--pairs", type=click.Path(path_type=Path), help="your own opposites, in the form of directions/pairs.toml"
        ),
        click.option("--layers", help="slots to move, by index, range or name, as in 0-3,5  [default: all]"),
        click.option("--raw", is_flag=True, help="strength in the regression's own coefficients, as in the 2022 study"),
    ]  # fmt: skip

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapper(
            *given: Any, texts: tuple[str, ...], strength: float | None, opposite: str | None, no_opposite: bool,
            layers: str | None, raw: bool, pairs: Path | None, **rest: Any,
        ) -> Any:  # fmt: skip
            if opposite and no_opposite:
                raise click.UsageError("--opposite and --no-opposite exclude each other")
            asked = AskedEdits(texts, strength, opposite, no_opposite, layers, raw, pairs)
            return command(*given, asked=asked, **rest)

        return _with(wrapper, options)

    return decorate


@dataclass(frozen=True)
class AskedEditor:
    """The options of :func:`editor_options`, as they were typed."""

    directions: Path | None
    prior: Path | None
    generator: str | None
    allow_other_generator: bool

    def load(self, context: Context) -> tuple[Generator, OwnEditor, str]:
        """The generator, what edits its codes, and where that was: its files, or "shipped".

        What was named wins: directions, a prior, or directions settled on a prior. Else it is the newest file in
        ``./directions``, of the generator that was named if one was; else what ships.

        Raises:
            LatentEditError: one cannot be loaded, or they do not fit each other.
        """
        from latentedit import DirectionBank, load_default, load_generator
        from latentedit.editing.editors import newest_editor, open_both, open_editor

        named = [path for path in (self.directions, self.prior) if path is not None]
        if named:
            editor: OwnEditor = open_both(*named) if len(named) == 2 else open_editor(named[0])
            generator = self._generator_of(editor, named[0], context)
            where = " and ".join(map(str, named))
        else:
            asked = None if self.generator is None else load_generator(self.generator, device=context.device)
            newest = newest_editor(OWN, asked, say=context.say)
            if newest is None:
                generator = asked or load_generator("avatar", device=context.device)
                return generator, load_default(generator), SHIPPED
            editor, path = newest
            generator, where = asked or self._generator_of(editor, path, context), str(path)
        if isinstance(editor, DirectionBank) and Path(where).resolve().parent == OWN.resolve():
            context.hint("fit-prior would keep edits natural")
        return generator, editor, where

    def _generator_of(self, editor: OwnEditor, path: Path, context: Context) -> Generator:
        """The generator that was asked for, else the one that a file names; another than the editor's is refused."""
        from latentedit import load_generator

        name = recorded_generator(self.generator, editor.generator_name, path) or "avatar"
        generator = load_generator(name, device=context.device)
        if not self.allow_other_generator:
            editor.check_generator(generator)
        return generator


def editor_options(command: Command) -> Command:
    """The options that say what edits, handed over as ``editor``."""

    @functools.wraps(command)
    def wrapper(
        *given: Any, directions: Path | None, prior: Path | None, generator: str | None, allow_other_generator: bool,
        **rest: Any,
    ) -> Any:  # fmt: skip
        return command(*given, editor=AskedEditor(directions, prior, generator, allow_other_generator), **rest)

    options = [
        click.option(
            "--directions", type=click.Path(path_type=Path),
            help="file of fit-directions  [default: the newest file in ./directions, else what ships]",
        ),
        click.option(
            "--prior", type=click.Path(path_type=Path), help="file of fit-prior; with --directions, these settle on it"
        ),
        click.option("--generator", help="[default: the one that the file names, else avatar]"),
        click.option("--allow-other-generator", is_flag=True, help="use directions or a prior of another generator"),
    ]  # fmt: skip
    return _with(wrapper, options)


def _with(command: Command, options: Iterable[Callable[[Command], Command]]) -> Command:
    """A command with options, in the order in which its help shows them."""
    for option in reversed(list(options)):
        command = option(command)
    return command


@cli.command()
@edit_options(required=True)
@editor_options
@click.option(
    "--content",
    metavar="PICTURE",
    help="your picture, a folder of them, or a frame of a video (clip.mp4#t=12.5) as content, for image-to-image "
    "generators",
)
@click.option(
    "--style",
    type=click.Path(path_type=Path),
    help="a picture, or a folder of them, whose style is edited instead of SEED's, for generators that read styles",
)
@click.option(
    "--codes", type=click.Path(path_type=Path), help="a file of codes to edit instead, as `convert` knows them"
)
@click.option("--label", type=int, help="class, for conditional generators")
@click.option(
    "--truncation", type=float, default=1.0, show_default=True, help="1 for none, towards 0 for the mean code"
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="of the first face")
@how_many(6, "faces: of seeds SEED, SEED+1, ..., or the first ones of --style or --codes")
@output_options
@common
def edit(
    context: Context, asked: AskedEdits, editor: AskedEditor, output: AskedOutput, content: str | None,
    style: Path | None, codes: Path | None, label: int | None, truncation: float, seed: int, n: int,
) -> None:  # fmt: skip
    """Give faces a tag and take its opposite away; writes a picture.

    Without --directions and --prior: by the newest file in ./directions, else by what ships for the generator.
    """
    if codes and style:
        raise click.UsageError("--codes and --style exclude each other")
    output.check()
    from latentedit.directions.edits import Edit
    from latentedit.editing.editor import moves_of
    from latentedit.editing.editors import kind_of
    from latentedit.editing.faces import Faces
    from latentedit.editing.sheets import go_together, moves_text
    from latentedit.files import file_name

    generator, loaded, where = editor.load(context)
    edits = [one.paired(loaded.tags, asked.relations) for one in asked.edits(loaded.tags)]
    out = output.place(file_name(f"edit-{'-'.join(one.tag for one in edits)}.png"))
    seeds = () if codes or style else range(seed, seed + n)
    faces = Faces(seeds=seeds, codes=codes, style=style, content=content, label=label, truncation=truncation, count=n)
    prepared = faces.prepare(generator, batch_size=context.batch_size)
    write_edits(out, prepared, loaded, edits, output.layout)
    whole, kind = Edit(edits), kind_of(loaded)
    together = output.strip or go_together(whole)
    told = "; ".join(moves_text(one, loaded, digits=".2f", between=", ") for one in ([whole] if together else edits))

    def moves(some: Any) -> dict[str, float]:
        return {tag: strength for (tag, _), strength in moves_of(loaded, some).items()}

    context.result(
        {
            "picture": str(out), "edit": str(whole), "editor": kind, "file": where,
            "moves": moves(edits) if together else {str(one): moves(one) for one in edits},
            "goals": {one.tag: one.goal for one in edits if one.goal is not None},
        },
        f"wrote {out}: {told} ({kind}, {where})",
    )  # fmt: skip
