"""``edit``, and the options that say what is edited and by what, which other commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli.common import Context, cli, common, recorded_generator, refuse_existing

if TYPE_CHECKING:
    from latentedit.directions.bank import DirectionBank
    from latentedit.directions.edits import Edit
    from latentedit.directions.pairs import TagRelations
    from latentedit.generators import Generator

Command = Callable[..., Any]


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
            help="what to add: a tag, or as in 'long_hair=2 -short_hair/3 @0-3'; repeat it for several",
        ),
        click.option("--strength", type=float, help="in σ; negative goes the other way  [default: 3]"),
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
    generator: str | None
    allow_other_generator: bool

    def load(self, context: Context) -> tuple[Generator, DirectionBank]:
        """The generator, and what edits its codes.

        Raises:
            LatentEditError: one cannot be loaded, or they do not fit each other.
        """
        from latentedit import DirectionBank, load_generator

        if self.directions is None:
            generator = load_generator(self.generator or "avatar", device=context.device)
            return generator, DirectionBank.load_default(generator)
        bank = DirectionBank.load(self.directions)
        named = recorded_generator(self.generator, bank.generator_name, self.directions)
        generator = load_generator(named or "avatar", device=context.device)
        if not self.allow_other_generator:
            bank.check_generator(generator)
        return generator, bank


def editor_options(command: Command) -> Command:
    """The options that say what edits, handed over as ``editor``."""

    @functools.wraps(command)
    def wrapper(
        *given: Any, directions: Path | None, generator: str | None, allow_other_generator: bool, **rest: Any
    ) -> Any:
        return command(*given, editor=AskedEditor(directions, generator, allow_other_generator), **rest)

    options = [
        click.option(
            "--directions", type=click.Path(path_type=Path), help="file of fit-directions  [default: the shipped ones]"
        ),
        click.option("--generator", help="[default: the one that the directions name, else avatar]"),
        click.option("--allow-other-generator", is_flag=True, help="use directions of another generator"),
    ]
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
    "--strip", is_flag=True, help="one column per strength, from -STRENGTH to +STRENGTH, instead of before and after"
)
@click.option("--steps", type=click.IntRange(2, 25), default=7, show_default=True, help="columns of a strip")
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
@click.option(
    "--count",
    type=click.IntRange(1, 64),
    default=6,
    show_default=True,
    help="faces: of seeds SEED, SEED+1, ..., or the first ones of --style or --codes",
)
@click.option("--out", type=click.Path(path_type=Path), help="[default: edit-TAG.png]")
@click.option("--force", is_flag=True, help="overwrite OUT")
@common
def edit(
    context: Context, asked: AskedEdits, editor: AskedEditor, strip: bool, steps: int, content: str | None,
    style: Path | None, codes: Path | None, label: int | None, truncation: float, seed: int, count: int,
    out: Path | None, force: bool,
) -> None:  # fmt: skip
    """Move faces along the direction of a tag and away from its opposite; writes a picture."""
    if codes and style:
        raise click.UsageError("--codes and --style exclude each other")
    if out is not None:
        refuse_existing(out, force)
    from latentedit.directions.edits import Edit
    from latentedit.editing.faces import Faces
    from latentedit.editing.sheets import edit_sheet, moves_text
    from latentedit.files import atomic_write, file_name

    generator, bank = editor.load(context)
    edits = [one.paired(bank.tags, asked.relations) for one in asked.edits(bank.tags)]
    if out is None:
        out = Path(file_name(f"edit-{'-'.join(one.tag for one in edits)}.png"))
        refuse_existing(out, force)
    seeds = () if codes or style else range(seed, seed + count)
    faces = Faces(
        seeds=seeds, codes=codes, style=style, content=content, label=label, truncation=truncation, count=count
    )
    prepared = faces.prepare(generator, batch_size=context.batch_size)
    sheet = edit_sheet(prepared, bank, edits, steps=steps if strip else None)
    with atomic_write(out) as temporary:
        sheet.save(temporary, "PNG")
    whole = Edit(edits)
    context.result(
        {"picture": str(out), "edit": str(whole), "moves": whole.strengths(bank.tags)},
        f"wrote {out}: {moves_text(whole, bank, digits='.2f', between=', ')}",
    )
