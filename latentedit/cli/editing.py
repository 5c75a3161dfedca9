"""``edit``, and the options that say what is edited and by what, which other commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli.asking import ORDER, AskedEdits, EditCommand, typed_options
from latentedit.cli.common import Context, Place, cli, common, recorded_generator
from latentedit.cli.drawing import AskedOutput, output_options
from latentedit.cli.faces import AskedFaces, face_options
from latentedit.cli.recipes import repeated_editor, repeated_faces, repeated_output, repeated_rival
from latentedit.errors import MismatchError

if TYPE_CHECKING:
    from latentedit.directions.edits import Edit
    from latentedit.editing.editors import OwnEditor
    from latentedit.editing.ingredients import Ingredient
    from latentedit.editing.sheets import Sides
    from latentedit.generators import Generator

Command = Callable[..., Any]
OWN = Path("directions")
"""Where one's own directions and priors are looked for."""


def edit_options(command: Command) -> Command:
    """The options that say what is edited and how far, handed over as ``asked``; for an :class:`EditCommand`."""
    options = [
        click.option(
            "--tag", "texts", multiple=True, metavar="EDIT",
            help="what to add: a tag, or as in 'long_hair=2 -short_hair/3 @0-3', by a prior also 'smile>0.8 !glasses'; "
            "repeat it for several",
        ),
        click.option(
            "--strength", multiple=True, type=float, metavar="S",
            help="of lines in σ; negative goes the other way  [default: 3]",
        ),
        click.option(
            "--opposite", multiple=True, metavar="TAG[:RATIO]",
            help="tag to take away  [default: the tag's usual opposite, if it has one]",
        ),
        click.option("--no-opposite", is_flag=True, help="move along the tag's direction alone"),
        click.option(
            "--pairs", type=Place(), help="your own opposites, in the form of directions/pairs.toml"
        ),
        click.option(
            "--layers", multiple=True, metavar="SLOTS",
            help="slots to move, by index, range or name, as in 0-3,5  [default: all]",
        ),
        click.option("--raw", is_flag=True, help="strength in the regression's own coefficients, as in the 2022 study"),
    ]  # fmt: skip

    @functools.wraps(command)
    def wrapper(
        *given: Any, texts: tuple[str, ...], strength: tuple[float, ...], opposite: tuple[str, ...], no_opposite: bool,
        layers: tuple[str, ...], raw: bool, pairs: Path | None, **rest: Any,
    ) -> Any:  # fmt: skip
        if opposite and no_opposite:
            raise click.UsageError("--opposite and --no-opposite exclude each other")
        values = {
            "texts": texts, "strength": strength, "opposite": opposite, "no_opposite": [True] * no_opposite,
            "layers": layers, "raw": [True] * raw,
        }  # fmt: skip
        typed = typed_options(click.get_current_context().meta[ORDER], values)
        return command(*given, asked=AskedEdits(typed, pairs), **rest)

    return _with(wrapper, options)


@dataclass(frozen=True)
class Opened:
    """What edits, and whose codes.

    Attributes:
        generator: whose.
        editor: edits them.
        where: its files, or "shipped".
        files: the same, with their check sums.
        name: of the generator, as typed.
    """

    generator: Generator
    editor: OwnEditor
    where: str
    files: tuple[Ingredient, ...]
    name: str

    @property
    def by(self) -> str:
        """What tells the editor from others: check sums of its files."""
        return " and ".join(one.sha256[:12] for one in self.files)

    def edits(
        self, asked: AskedEdits, context: Context, *, default: Iterable[str] = (), base: Edit | None = None
    ) -> list[Edit]:
        """The edits that were asked for, all of tags that the editor knows; ``default`` where none was, or a recipe's.

        Raises:
            LatentEditError: a text that is no edit, a tag that is not known, or an option that may mean one of several.
        """
        from latentedit.directions.edits import DEFAULT_STRENGTH
        from latentedit.directions.evidence import chance_line
        from latentedit.editing.editor import far_moves, lines_of
        from latentedit.editing.editors import check_tags

        if base is None:
            edits = asked.edits(self.editor.tags, default=default, say=context.say)
        else:
            edits = list(asked.over(base, self.editor.tags, say=context.say).parts)
            if asked.typed:
                context.say(f"in place of the recipe's {base}: {', '.join(map(str, edits))}")
        check_tags(edits, self.editor, self.where, folder=OWN)
        for tag, strength in far_moves(self.editor, edits, asked.relations).items():
            context.say(
                f"{tag} by {strength:+.3g} is far outside the codes ever seen, which end near 5 σ; "
                f"{DEFAULT_STRENGTH:g} is usual"
            )
        if line := chance_line(lines_of(self.editor, [one.paired(self.editor.tags, asked.relations) for one in edits])):
            context.say(line)
        return edits

    def explicit(self, asked: AskedEdits, context: Context, base: Edit | None) -> list[Edit]:
        """The same with nothing left open."""
        from latentedit.editing.editor import explicit_for

        edits = self.edits(asked, context, base=base)
        return [explicit_for(self.editor, one, asked.relations) for one in edits]


@dataclass(frozen=True)
class AskedEditor:
    """The options of :func:`editor_options`, as they were typed."""

    directions: Path | None
    prior: Path | None
    generator: str | None
    allow_other_generator: bool

    def load(self, context: Context) -> Opened:
        """The generator, and what edits its codes.

        What was named wins: directions, a prior, or directions settled on a prior. Else it is the newest file in
        ``./directions``, of the generator that was named if one was; else what ships.

        Raises:
            LatentEditError: one cannot be loaded, or they do not fit each other.
        """
        from latentedit import DirectionBank, load_default
        from latentedit.editing.editors import newest_editor
        from latentedit.editing.ingredients import SHIPPED
        from latentedit.editing.recipe import editor_file

        if self.directions is not None or self.prior is not None:
            opened = self._named(context)
        else:
            asked = None if self.generator is None else context.generator(self.generator)
            newest = newest_editor(OWN, asked, say=context.say)
            if newest is None:
                generator = asked or context.generator("avatar")
                best = load_default(generator)
                return Opened(generator, best, SHIPPED, (editor_file(SHIPPED, best),), self.generator or "avatar")
            editor, path = newest
            generator, name = self._generator_of(editor, path, context, asked)
            opened = Opened(generator, editor, str(path), (editor_file(path, editor),), name)
        if isinstance(opened.editor, DirectionBank) and Path(opened.where).resolve().parent == OWN.resolve():
            context.hint("fit-prior would keep edits natural")
        return opened

    def rival(self, opened: Opened, file: Path) -> Opened:
        """A second editor of the same generator, of a file or what ships.

        Raises:
            LatentEditError: it cannot be loaded, or is of another generator.
        """
        from latentedit import load_default
        from latentedit.editing.editors import open_editor
        from latentedit.editing.ingredients import SHIPPED
        from latentedit.editing.recipe import editor_file

        if str(file) == SHIPPED:
            found: OwnEditor = load_default(opened.generator)
        else:
            found = open_editor(file)
            if not self.allow_other_generator:
                found.check_generator(opened.generator)
        return replace(opened, editor=found, where=str(file), files=(editor_file(file, found, role="against"),))

    def _named(self, context: Context) -> Opened:
        """What ``--directions`` and ``--prior`` name: files, or what ships."""
        from latentedit import DirectionBank, Prior
        from latentedit.editing.editors import open_editor, settle
        from latentedit.editing.ingredients import SHIPPED
        from latentedit.editing.recipe import editor_file

        named = [path for path in (self.directions, self.prior) if path is not None]
        read = {path: open_editor(path) for path in named if str(path) != SHIPPED}
        if read:
            path, editor = next(iter(read.items()))
            generator, name = self._generator_of(editor, path, context)
        else:
            name = self.generator or "avatar"
            generator = context.generator(name)
        asked = ((self.directions, DirectionBank.load_default), (self.prior, Prior.load_default))
        found = [read.get(path) or ships(generator) for path, ships in asked if path is not None]
        where = " and ".join(dict.fromkeys(map(str, named)))
        files = [editor_file(path, one) for path, one in zip(named, found, strict=True)]
        whole = found[0] if len(found) == 1 else settle(*found, names=where)
        return Opened(generator, whole, where, tuple(files), name)

    def _generator_of(
        self, editor: OwnEditor, path: Path, context: Context, asked: Generator | None = None
    ) -> tuple[Generator, str]:
        """The generator that was asked for, else the one that a file names, and its name.

        Another than the editor's is refused.
        """

        name = recorded_generator(self.generator, editor.generator_name, path) or "avatar"
        generator = asked or context.generator(name)
        if not self.allow_other_generator:
            try:
                editor.check_generator(generator)
            except MismatchError as error:
                raise MismatchError(f"{path}: {error}") from error
        return generator, name


def beside(first: Opened, edits: Sequence[Edit], second: Opened, others: Sequence[Edit]) -> Sides:
    """Two editors and their edits, by what they are called.

    Raises:
        LatentEditError: they are the same.
    """
    from latentedit.editing.editors import side_names

    here, there = side_names((first.editor, first.where), (second.editor, second.where))
    return {here: (first.editor, edits), there: (second.editor, others)}


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
            "--directions", type=Place(),
            help="file of fit-directions, or 'shipped'  [default: the newest file in ./directions, else what ships]",
        ),
        click.option(
            "--prior", type=Place(),
            help="file of fit-prior, or 'shipped'; with --directions, these settle on it",
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


@cli.command(
    cls=EditCommand,
    sections={
        "What to add": ("--tag", "--strength", "--opposite", "--no-opposite", "--recipe"),
        "To which faces": ("--seed", "-n", "--seeds", "--content"),
        "The pictures": ("--out", "--force", "--strip"),
    },
)
@edit_options
@editor_options
@click.option(
    "--against", type=Place(), metavar="FILE",
    help="a second file of directions or a prior, or 'shipped': its edits beside the first one's",
)  # fmt: skip
@face_options
@output_options(default="edit-TAG.png")
@click.option(
    "--recipe", "recipe_file", type=Place(), metavar="FILE",
    help="make again what a PNG file of edit, or the JSON of a recipe, tells; what else is typed changes just that",
)  # fmt: skip
@common
def edit(
    context: Context, asked: AskedEdits, editor: AskedEditor, output: AskedOutput, which: AskedFaces,
    against: Path | None, recipe_file: Path | None,
) -> None:  # fmt: skip
    """Give faces a tag and take its opposite away; writes a picture.

    Without --directions and --prior: by the newest file in ./directions, else by what ships for the generator.
    """
    which.check()
    output.check()
    if against is not None and output.is_folder and output.sheet is None:
        raise click.UsageError("--against shows two editors in one picture; write it with --out FILE or --sheet FILE")
    from latentedit.directions.edits import Edit
    from latentedit.editing.editor import moves_of
    from latentedit.editing.editors import kind_of
    from latentedit.editing.ingredients import Ingredient
    from latentedit.editing.recipe import KEY, Recipe
    from latentedit.editing.sheets import go_together, moves_text
    from latentedit.files import file_name

    base, kept = None if recipe_file is None else Recipe.load(recipe_file), list[Ingredient]()
    opened = editor.load(context) if base is None else repeated_editor(base, editor, context)
    loaded, where = opened.editor, opened.where
    if base is None and not asked.texts:
        raise click.UsageError(_what_to_add(opened))
    edits = opened.explicit(asked, context, None if base is None else base.edit)
    if base is None:
        told, faces = (which.load(context),) * 2
    else:
        told, faces, kept = repeated_faces(base, which, context)
        output = repeated_output(base, output, len(told.seeds))
    rival, others = None, list[Edit]()
    if against is not None:
        rival = editor.rival(opened, against)
        others = rival.explicit(asked, context, None if base is None else base.edit)
    elif base is not None and base.against is not None:
        rival = repeated_rival(base, opened)
        others = rival.explicit(asked, context, base.against)
    sides = None if rival is None else beside(opened, edits, rival, others)
    strip = output.layout.kind == "strip"
    _say_odd(context, opened, edits, strip=strip)
    name = file_name("-".join(["edit", *(one.tag for one in edits)]))
    out = output.place(f"{name}.png")
    prepared = faces.prepare(opened.generator, batch_size=context.batch_size)
    whole, kind = Edit(edits), kind_of(loaded)
    recipe = Recipe.of(
        whole, prepared, loaded, [*opened.files, *(rival.files if rival else ()), *kept], generator=opened.name,
        told=told, layout=output.layout, against=Edit(others) if rival else None, device=context.device,
        dtype=context.dtype_name,
    )  # fmt: skip
    written = output.write(
        context, out, prepared, loaded, edits, by=opened.by, sides=sides, text={KEY: recipe.to_json()},
        text_of=lambda i: {KEY: recipe.of_face(prepared, i).to_json()},
    )  # fmt: skip
    together = strip or output.is_folder or go_together(whole)
    text = "; ".join(moves_text(one, loaded, digits=".2f", between=", ") for one in ([whole] if together else edits))

    def moves(some: Any) -> dict[str, float]:
        return {tag: strength for (tag, _), strength in moves_of(loaded, some).items()}

    context.result(
        {
            **written.document, "edit": str(whole), "editor": kind, "file": where,
            "moves": moves(edits) if together else {str(one): moves(one) for one in edits},
            "goals": {one.tag: one.goal for one in edits if one.goal is not None},
            "against": None if rival is None else {"editor": kind_of(rival.editor), "file": rival.where},
            "recipe": recipe.document(),
        },
        f"{written}: {text} ({kind}, {where}{'' if rival is None else f', against {rival.where}'})",
    )  # fmt: skip


def _what_to_add(opened: Opened) -> str:
    """What to write where no tag was named: the tags that there are."""
    from latentedit.editing.editors import SHIPPED, kind_of

    tags = opened.editor.tags
    of = "what ships" if opened.where == SHIPPED else opened.where
    shown = click.wrap_text(", ".join(tags) or "none", 78, "  ", "  ")
    return (
        f"name what to add, as in --tag {tags[0] if tags else 'TAG'}\nTags of {of} ({kind_of(opened.editor)}):\n{shown}"
    )


def _say_odd(context: Context, opened: Opened, edits: Sequence[Edit], *, strip: bool) -> None:
    """Say what is done and may not be meant: a tag twice, two that exclude each other."""
    from latentedit.directions.pairs import TagRelations

    relations, done = TagRelations.load(), "the strip adds them up" if strip else "each has a row of its own"
    tags = [one.tag for one in edits]
    relations = relations.spelled_as(tags)
    for tag in dict.fromkeys(tag for tag in tags if tags.count(tag) > 1):
        context.say(f"{tag} is asked for {tags.count(tag)} times: {done}")
    more = list(dict.fromkeys(one.tag for one in edits if one.strength is None or one.strength > 0))
    for i, tag in enumerate(more):
        if others := [other for other in more[i + 1 :] if other in relations.group_of(tag)]:
            context.say(f"{tag} and {others[0]} are of one group, of which a picture has one: {done}")
