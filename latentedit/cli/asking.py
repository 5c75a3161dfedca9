"""How edits are asked for: options in the order in which they were typed, and whose each of them is."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli.settings import Command

if TYPE_CHECKING:
    from latentedit.directions.edits import Edit
    from latentedit.directions.pairs import TagRelations
    from latentedit.samples.store import Samples

ORDER = "latentedit.cli.asking.order"
"""Where a context keeps the names of options as they were typed."""
FLAGS = {
    "strength": "--strength", "opposite": "--opposite", "no_opposite": "--no-opposite", "layers": "--layers",
    "raw": "--raw",
}  # fmt: skip
"""Options that say what the text of an edit may say itself."""


class EditCommand(Command):
    """A command that takes edits: it knows in which order they were typed, and what a tag without ``--tag`` means.

    Args:
        sections: heading → options that its help sets apart, in this order; the others follow.
    """

    allow_extra_args = True

    def __init__(self, *given: Any, sections: Mapping[str, Sequence[str]] | None = None, **rest: Any) -> None:
        super().__init__(*given, **rest)
        self.sections = dict(sections or {})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        ctx.meta[ORDER] = [parameter.name for parameter in order]
        rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            told = f"unexpected {' '.join(rest)!r}"
            if any("--tag" in parameter.opts for parameter in self.params):
                told += f"; if that is what to add, write: {ctx.command_path} {_typed_tags(rest)}"
            ctx.fail(told)
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options under the headings of ``sections``, the rest under the usual one."""
        options = [one for one in self.get_params(ctx) if isinstance(one, click.Option)]
        records = {one.opts[0]: record for one in options if (record := one.get_help_record(ctx)) is not None}
        taken = [name for names in self.sections.values() for name in names]
        rest = [name for name in records if name not in taken]
        for title, names in {**self.sections, "Other options" if taken else "Options": rest}.items():
            if shown := [records[name] for name in names if name in records]:
                with formatter.section(title):
                    formatter.write_dl(shown)


def typed_options(order: Iterable[str], given: Mapping[str, Sequence[Any]]) -> tuple[tuple[str, Any], ...]:
    """(Name, value) of options one by one, in the order in which they were typed.

    Args:
        order: names of all options that were typed.
        given: name → values of those that matter, in their order.
    """
    left = {name: list(values) for name, values in given.items()}
    return tuple((name, left[name].pop(0)) for name in order if left.get(name))


def meant(names: tuple[str, ...], samples: Samples, tagger: str | None) -> tuple[str, ...]:
    """The tags of samples that names mean, in whatever spelling; others as they are."""
    from latentedit.taggers.tag_names import known_tags

    if not names or not samples.taggers:
        return names
    return known_tags(names, samples.tags(tagger))


@dataclass(frozen=True)
class AskedEdits:
    """The options of :func:`~latentedit.cli.editing.edit_options` in the order in which they were typed.

    Attributes:
        typed: "texts" with the text of an edit, or a name of :data:`FLAGS` with its value.
        pairs: file of the user's own opposites.
    """

    typed: tuple[tuple[str, Any], ...]
    pairs: Path | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """Of the edits."""
        return tuple(value for name, value in self.typed if name == "texts")

    @property
    def relations(self) -> TagRelations:
        """Pairs and groups of tags: the user's, else the shipped ones."""
        from latentedit.directions.pairs import TagRelations

        return TagRelations.load(self.pairs)

    @property
    def changes(self) -> bool:
        """Whether anything was typed."""
        return bool(self.typed)

    def over(self, base: Edit, tags: Iterable[str], *, say: Callable[[str], None] | None = None) -> Edit:
        """Edits with what was typed in place of what they say: of a tag that they have just that, others beside them.

        Raises:
            LatentEditError: a text that is no edit.
            click.UsageError: an option that may mean one of several edits.
        """
        from latentedit.directions.edits import Edit, merged

        if not self.typed:
            return base
        found, tags = list(base.parts), list(tags)
        if not self.texts:
            filling = _filling(self.typed, tags)
            if len(found) > 1:
                shown = _typed_tags([str(merged(one, Edit(one.tag).filled(**filling))) for one in found])
                given = " and ".join(_typed(name, value) for name, value in self.typed)
                raise click.UsageError(f"{given} may mean one of the recipe's tags; let each say it: {shown}")
            return merged(found[0], Edit(found[0].tag).filled(**filling))
        for change in self.edits(tags, say=say):
            same = [i for i, one in enumerate(found) if one.tag == change.tag]
            for i in same:
                found[i] = merged(found[i], change)
            found += [] if same else [change]
        return Edit(found)

    def edits(
        self, tags: Iterable[str], *, default: Iterable[str] = (), say: Callable[[str], None] | None = None
    ) -> list[Edit]:
        """The edits that were asked for, each as its text says, and as the other options say where that is silent.

        Of several edits each says for itself how far it goes, and away from what: options are for all of them only
        where they stand before the first. An opposite is never for all.

        Args:
            tags: that the editor knows.
            default: tags to edit where none was named.
            say: told of options that change nothing.

        Raises:
            LatentEditError: a text that is no edit, or an opposite whose ratio is no number.
            click.UsageError: an option that may mean one of several edits.
        """
        from latentedit.directions.edits import Edit

        tags = list(tags)
        each = [list(Edit.parse(text, tags=tags).parts) for text in self.texts] or [[Edit(tag)] for tag in default]
        fills, after = [], 0
        for name, value in self.typed:
            after += name == "texts"
            if name in FLAGS:
                fills.append((after, name, value))
        parts = [part for some in each for part in some]
        if len(parts) > 1 and any(after > 0 or name == "opposite" for after, name, _ in fills):
            raise click.UsageError(_refusal(each, fills, tags))
        whole = Edit(parts) if parts else None
        for _, name, value in fills:
            if say and whole and whole.filled(**_filling([(name, value)], tags)) == whole:
                say(f"{_typed(name, value)} changes nothing: {whole} says it itself")
        filling = _filling([(name, value) for _, name, value in fills], tags)
        return [part.filled(**filling) for part in parts]


def _filling(options: Iterable[tuple[str, Any]], tags: Sequence[str]) -> dict[str, Any]:
    """What options fill in, as arguments of :meth:`Edit.filled`; of one that is there twice the last."""
    from latentedit.directions.edits import parse_opposite

    found: dict[str, Any] = {}
    for name, value in options:
        if name == "opposite":
            found["opposite"], found["ratio"] = parse_opposite(value, tags)
        elif name == "no_opposite":
            found["opposite"] = found["ratio"] = None
        elif name == "raw":
            found["unit"] = "raw"
        else:
            found[name] = value
    return found


def _refusal(each: list[list[Edit]], fills: list[tuple[int, str, Any]], tags: Sequence[str]) -> str:
    """Why options among several edits are refused, with the texts that say the same."""
    late = [_typed(name, value) for after, name, value in fills if after > 0 or name == "opposite"]
    one_each = []
    for i, some in enumerate(each):
        own = [(n, v) for after, n, v in fills if max(after, n == "opposite") == i + 1 or not after and n != "opposite"]
        one_each.append(_filled_text(some, own, tags))
    told = f"{' and '.join(late)} may mean one of several tags; let each say it: {_typed_tags(one_each)}"
    if all(after in (0, len(each)) and name != "opposite" for after, name, _ in fills):
        all_alike = [_filled_text(some, [(n, v) for _, n, v in fills], tags) for some in each]
        told += f", or for all of them: {_typed_tags(all_alike)}" * (all_alike != one_each)
    return told


def _filled_text(parts: Sequence[Edit], options: Iterable[tuple[str, Any]], tags: Sequence[str]) -> str:
    filling = _filling(options, tags)
    return ", ".join(str(part.filled(**filling)) for part in parts)


def _typed(name: str, value: Any) -> str:
    """An option as it is typed."""
    return FLAGS[name] if value is True else f"{FLAGS[name]} {in_shell(f'{value:g}' if name == 'strength' else value)}"


def _typed_tags(texts: Sequence[str]) -> str:
    shown = " ".join(f"--tag {in_shell(text)}" for text in texts[:4])
    return f"{shown} ..." if len(texts) > 4 else shown


def in_shell(text: str) -> str:
    """A text as one word of a shell, in double quotes where these do."""
    if text == shlex.quote(text):
        return text
    return shlex.quote(text) if set(text) & set('"!$`\\') else f'"{text}"'
