"""An edit as a value: what is changed, how far, away from what, in which slots, and what must stay.

::

    Edit("long_hair")                                  the usual strength, away from the usual opposite
    Edit("long_hair", 2, opposite=None)                2 σ along the tag's direction alone
    Edit("red_hair", opposite="black_hair", ratio=-0.5)
    Edit([Edit("long_hair", 2), "glasses"])            several at once are an edit as well
    Edit.parse("long_hair=2 -short_hair/3 @0-3, glasses")

Its text is read and written by :mod:`latentedit.directions.edit_text`, which says what stands in it; ``str(edit)`` is
the text of an edit, and ``Edit.parse(str(edit)) == edit``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from latentedit.directions.direction import UNITS, Unit
from latentedit.directions.edit_text import NUMBER, PERCENTILE, Reader, decimal, quoted, written
from latentedit.directions.pairs import TagPair, TagRelations
from latentedit.errors import LatentEditError, UnknownNameError
from latentedit.taggers.tag_names import known_tag, known_tags

DEFAULT_STRENGTH = 3.0
"""σ that every tag and finder is moved by when nothing is said; chosen by ``benchmarks/edits.py``."""

DEFAULT_RATIO = -1 / 3
"""How far an opposite that is named without a ratio moves, as a share of the strength."""

OneEdit: TypeAlias = "Edit | str | TagPair | Mapping[str, float]"
"""What is taken where an edit is: one, a tag, a pair, or explicit strengths of tags, to which nothing is added."""
EditLike: TypeAlias = "OneEdit | Sequence[OneEdit]"
"""The same, or several, which are added up."""


@dataclass(frozen=True, init=False, repr=False)
class Edit:
    """What is changed and how far. It never changes, can be a key of a dict, and equals another that says the same.

    Attributes:
        tag: what + means; "" where there are several edits, see :attr:`parts`.
        strength: in ``unit``; negative goes the other way. None: the usual one, :data:`DEFAULT_STRENGTH`.
        goal: in place of a strength, a score in [0, 1], or a percentile such as "p90".
        opposite: what is moved away from: "auto" for the tag's usual opposite, if it has one and the editor knows it;
            a tag; or None.
        ratio: how far the opposite moves, as a share of the strength; None for the usual share.
        keep: tags that must not change.
        layers: slots to move, each an exact slot name, an index, or an inclusive range of indices; None for all.
        unit: "sigma", "latent" or "raw", see :mod:`latentedit.directions.direction`.
        several: the edits that this one is made of, when there are several.

    Raises:
        LatentEditError: a part that is missing, of another kind, out of range, or contradicts another.
    """

    tag: str
    strength: float | None
    goal: float | str | None
    opposite: str | None
    ratio: float | None
    keep: tuple[str, ...]
    layers: tuple[str, ...] | None
    unit: Unit
    several: tuple[Edit, ...]

    def __init__(
        self,
        tag: str | TagPair | Mapping[str, float] | Edit | Iterable[Any],
        strength: float | None = None,
        *,
        goal: float | str | None = None,
        opposite: str | None = "auto",
        ratio: float | None = None,
        keep: str | Sequence[str] = (),
        layers: str | Sequence[int | str] | None = None,
        unit: str = "sigma",
    ) -> None:
        given = (strength, goal, opposite, ratio, keep or (), layers, unit)
        if isinstance(tag, str):
            values = _single(tag, *given)
        else:
            parts = _parts(tag)
            if given != (None, None, "auto", None, (), None, "sigma"):
                texts = ", ".join(map(written, parts))
                raise LatentEditError(f"{texts}: each of several edits says for itself how far and away from what")
            values = {f.name: getattr(parts[0], f.name) for f in fields(Edit)}
            if len(parts) > 1:
                values = dict(_NOTHING, several=parts)
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def parts(self) -> tuple[Edit, ...]:
        """The single edits that are added up: itself, or those that it is made of."""
        return self.several or (self,)

    # ---- texts

    @classmethod
    def parse(cls, text: str, *, tags: Iterable[str] = ()) -> Edit:
        """The edit that a text stands for; see the module.

        Args:
            text: such as ``long_hair=2 -short_hair``.
            tags: known ones beside those of ``directions/pairs.toml``, such as an editor's.

        Raises:
            LatentEditError: it is no edit; the message says where it stops being one.
        """
        said = Reader(text, [*(tags := tuple(tags)), *TagRelations.load().spelled_as(tags).tags]).edits()
        try:
            return cls([cls(**one) for one in said])
        except LatentEditError as error:
            raise LatentEditError(f"{text!r}: {error}") from error

    def __str__(self) -> str:
        return ", ".join(map(written, self.parts))

    def __repr__(self) -> str:
        return f"Edit.parse({str(self)!r})"

    def to_json(self) -> str:
        """As a JSON object with what is not left open, or a list of them."""
        objects = [
            {f.name: getattr(one, f.name) for f in fields(Edit) if getattr(one, f.name) != _NOTHING[f.name]}
            for one in self.parts
        ]
        return json.dumps(objects if self.several else objects[0], ensure_ascii=False)

    @classmethod
    def from_json(cls, document: str | Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Edit:
        """The edit that :meth:`to_json` wrote, as text or as what ``json.loads`` makes of it.

        Raises:
            LatentEditError: it is something else.
        """
        try:
            found = json.loads(document) if isinstance(document, str) else document
        except ValueError as error:
            raise LatentEditError(f"{_short(document)} is not JSON ({error})") from error
        if isinstance(found, Mapping):
            known = [f.name for f in fields(cls) if f.name != "several"]
            if unknown := sorted(set(found) - set(known)):
                raise UnknownNameError("key of an edit", unknown[0], known)
            return cls(_text(found.get("tag"), "tag"), **{key: found[key] for key in found if key != "tag"})
        if not isinstance(found, Sequence) or isinstance(found, str) or not all(isinstance(o, Mapping) for o in found):
            raise LatentEditError(f"{_short(found)} is no edit; it must be an object with a tag, or a list of them")
        return cls([cls.from_json(one) for one in found])

    def spelled_as(self, tags: Iterable[str]) -> Edit:
        """The same with the spelling of these tags, where it names one of them in another."""
        known = tuple(tags)

        def spell(one: Edit) -> Edit:
            opposite = one.opposite if one.opposite in ("auto", None) else known_tag(str(one.opposite), known)
            found = known_tag(one.tag, known), opposite, known_tags(one.keep, known)
            same = found == (one.tag, one.opposite, one.keep)
            return one if same else one._with(tag=found[0], opposite=opposite, keep=found[2])

        return self._each(spell)

    # ---- how far

    def at(self, strength: float) -> Edit:
        """The same where what is left open has this strength, and strengths that are given are multiplied by it."""
        return self._each(lambda one: one._with(strength=strength if one.strength is None else one.strength * strength))

    def __mul__(self, factor: float) -> Edit:
        if not isinstance(factor, (int, float)) or isinstance(factor, bool):
            return NotImplemented
        return self._each(lambda one: one._with(strength=factor * one._strength))

    __rmul__ = __mul__

    def __neg__(self) -> Edit:
        return self * -1.0

    def filled(
        self,
        *,
        strength: float | None = None,
        opposite: str | None = "auto",
        ratio: float | None = None,
        layers: str | Sequence[int | str] | None = None,
        unit: str = "sigma",
    ) -> Edit:
        """The same with these for what it leaves open; what it says itself stays."""

        def fill(one: Edit) -> Edit:
            if one.strength is None and one.goal is None:
                needed = strength is None and unit != "sigma"
                one = one._with(strength=DEFAULT_STRENGTH if needed else strength, unit=unit)
            if one.opposite == "auto" and opposite != "auto":
                one = one._with(opposite=opposite, ratio=None if opposite is None else one.ratio or ratio)
            return one._with(layers=layers) if one.layers is None and layers is not None else one

        return self._each(fill)

    def _each(self, change: Callable[[Edit], Edit]) -> Edit:
        return Edit([change(one) for one in self.parts])

    def _with(self, **changes: Any) -> Edit:
        """The same single edit with other fields."""
        return Edit(**{f.name: getattr(self, f.name) for f in fields(self) if f.name != "several"} | changes)

    @property
    def _strength(self) -> float:
        if self.goal is not None:
            raise LatentEditError(
                f"{self}: only a prior takes a goal, and no strip or curve; give a strength, as in {quoted(self.tag)}=3"
            )
        return DEFAULT_STRENGTH if self.strength is None else self.strength

    def _usual(self, usual: Mapping[str, float] | None) -> float:
        own = (usual or {}).get(self.tag)
        return own if own is not None and self.strength is None and self.goal is None else self._strength

    def paired(self, tags: Iterable[str], relations: TagRelations | None = None) -> Edit:
        """The same with its opposites decided, for an editor that knows these tags.

        Args:
            tags: of the editor.
            relations: whose pairs say what the usual opposites are; the shipped ones when None.

        Raises:
            UnknownNameError: a tag that the editor does not know.
        """
        known = tuple(tags)
        relations = (relations or TagRelations.load()).spelled_as(known)

        def settle(one: Edit) -> Edit:
            one = one.spelled_as(known)
            for tag in (one.tag, *(() if one.opposite in ("auto", None) else (one.opposite,))):
                if tag not in known:
                    raise UnknownNameError("tag", str(tag), known)
            pair = relations.opposite_of(one.tag)
            opposite, ratio = one.opposite, one.ratio
            if opposite == "auto":
                opposite = pair.negative if pair is not None and pair.negative in known else None
            if opposite is not None and ratio is None:
                ratio = pair.ratio if pair is not None and pair.negative == opposite else DEFAULT_RATIO
            return one._with(**({"opposite": opposite, "ratio": ratio} if opposite and ratio else _ALONE))

        return self._each(settle)

    def explicit(
        self, tags: Iterable[str], relations: TagRelations | None = None, usual: Mapping[str, float] | None = None
    ) -> Edit:
        """The same with nothing left open: as :meth:`paired`, with the usual strength where it has none, nor a goal.

        Args:
            tags: of the editor.
            relations: as of :meth:`paired`.
            usual: strengths of tags that have one of their own, in place of :data:`DEFAULT_STRENGTH`; see
                :func:`usual_strengths`.

        Raises:
            UnknownNameError: a tag that the editor does not know.
        """
        return self.paired(tags, relations)._each(
            lambda one: one if one.goal is not None else one._with(strength=one._usual(usual))
        )

    def resolve(
        self, tags: Iterable[str], relations: TagRelations | None = None, usual: Mapping[str, float] | None = None
    ) -> Edit:
        """The same as :meth:`explicit`, for editors that know strengths alone.

        Raises:
            UnknownNameError: a tag that the editor does not know.
            LatentEditError: a goal, or something to keep, which priors alone take.
        """

        def settle(one: Edit) -> Edit:
            if one.keep:
                raise LatentEditError(f"{one}: only a prior can keep {', '.join(one.keep)}; leave it out, or take one")
            return one._with(strength=one._usual(usual))

        return self.paired(tags, relations)._each(settle)

    def strengths(
        self, tags: Iterable[str], relations: TagRelations | None = None, usual: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """How far an editor that knows these tags moves along each of them; arguments as of :meth:`resolve`."""
        found: dict[str, float] = {}
        for one in self.resolve(tags, relations, usual).parts:
            assert one.strength is not None
            found[one.tag] = found.get(one.tag, 0.0) + one.strength
            if one.opposite is not None and one.ratio is not None:
                found[one.opposite] = found.get(one.opposite, 0.0) + one.strength * one.ratio
        return found


def usual_strengths(editor: object) -> Mapping[str, float]:
    """Tag to its own usual strength, of an editor that has such tags, as a bank with sums of directions has."""
    return getattr(editor, "usual_strengths", {})


_NOTHING: dict[str, Any] = {
    "tag": "", "strength": None, "goal": None, "opposite": "auto", "ratio": None, "keep": (), "layers": None,
    "unit": "sigma", "several": (),
}  # fmt: skip
_ALONE: dict[str, Any] = {"opposite": None, "ratio": None}


def parse_opposite(text: str, tags: Iterable[str] = ()) -> tuple[str, float | None]:
    """``TAG`` or ``TAG:ratio`` to (tag, ratio); a ratio without a sign of its own is turned negative.

    Args:
        text: as typed; one of ``tags`` is a tag as it is, colons or not, and spaces and case do not matter. Of others
            the last colon is before a ratio where a number follows.
        tags: known ones.

    Raises:
        LatentEditError: the ratio is not finite, or it may be several tags.
    """
    tags = tuple(tags)
    tag, _, ratio = text.rpartition(":")
    whole = known_tag(text, tags)
    if whole in tags or not tag.strip() or NUMBER.fullmatch(ratio.strip()) is None:
        return whole, None
    return known_tag(tag, tags), -abs(_finite(float(ratio), f"the ratio of {tag!r}"))


def merged(one: Edit, change: Edit) -> Edit:
    """A single edit with what another one says in its place; what that leaves open stays."""
    said = {f.name: getattr(change, f.name) for f in fields(Edit) if getattr(change, f.name) != _NOTHING[f.name]}
    if "strength" in said:
        said |= {"goal": None, "unit": change.unit}
    elif "goal" in said:
        said |= {"strength": None, "unit": "sigma"}
    if "opposite" in said and "ratio" not in said:
        said["ratio"] = None
    elif "ratio" in said and one.opposite is None:
        said["opposite"] = "auto"
    return one._with(**said)


def as_edits(edits: Any, tags: Iterable[str] = ()) -> list[Edit]:
    """A list of edits, one of them in a list of its own; a list's members are edits each.

    Args:
        edits: as an editor takes them.
        tags: whose spelling they have, such as a judge's.

    Raises:
        LatentEditError: there are none.
    """
    found = [edits] if isinstance(edits, (str, TagPair, Mapping, Edit)) else list(edits)
    if not found:
        raise LatentEditError("there is no edit; name a tag or more")
    return [Edit(one).spelled_as(tags) for one in found]


def _parts(edits: Any) -> tuple[Edit, ...]:
    """The single edits of a pair, of explicit strengths, of an edit, or of several of these."""
    if isinstance(edits, Edit):
        return edits.parts
    if isinstance(edits, str):
        return (Edit(edits),)
    if isinstance(edits, TagPair):
        away = {"opposite": edits.negative, "ratio": edits.ratio} if edits.ratio else {"opposite": None}
        return (Edit(edits.positive, **away),)
    if isinstance(edits, Mapping):
        found = tuple(Edit(tag, strength, opposite=None) for tag, strength in edits.items())
    elif isinstance(edits, Iterable):
        found = tuple(part for one in edits for part in _parts(one))
    else:
        raise LatentEditError(f"{edits!r} is no edit; write a tag, {{tag: strength}}, an Edit, or a list of them")
    if not found:
        raise LatentEditError("there is no edit; name a tag or more")
    return found


def _single(
    tag: str, strength: Any, goal: Any, opposite: Any, ratio: Any, keep: Any, layers: Any, unit: Any
) -> dict[str, Any]:
    """The checked fields of one edit."""
    tag = _text(tag, "tag")
    if unit not in UNITS:
        raise UnknownNameError("unit", str(unit), UNITS)
    strength = None if strength is None else _finite(strength, f"the strength of {tag!r}")
    goal = None if goal is None else _goal(goal, tag)
    if goal is not None and strength is not None:
        raise LatentEditError(f"{tag!r} has the strength {strength:g} and the goal {goal}; give one of them")
    if unit != "sigma" and strength is None:
        raise LatentEditError(f"the unit {unit} of {tag!r} is that of a strength; give one")
    if opposite not in ("auto", None):
        opposite = _text(opposite, f"the opposite of {tag!r}")
        if opposite == tag:
            raise LatentEditError(f"{tag!r} cannot be its own opposite; name another tag")
    ratio = None if ratio is None else _finite(ratio, f"the ratio of {tag!r}")
    if ratio is not None and (opposite is None or not ratio):
        raise LatentEditError(f"{tag!r} has the ratio {ratio:g} and no opposite to move by it; name one, or no ratio")
    if not isinstance(keep, (str, Sequence)):
        raise LatentEditError(f"keep of {tag!r} is {keep!r}; give a tag, or a list of them")
    keep = tuple(_text(one, "a tag to keep") for one in ((keep,) if isinstance(keep, str) else keep))
    if tag in keep or (opposite != "auto" and opposite in keep):
        raise LatentEditError(f"{tag if tag in keep else opposite!r} is changed and cannot be kept as well")
    return dict(
        _NOTHING, tag=tag, strength=strength, goal=goal, opposite=opposite, ratio=ratio, keep=keep,
        layers=None if layers is None else _layers(layers), unit=unit,
    )  # fmt: skip


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise LatentEditError(f"{what} is {value!r}; write a tag, a text of one or more characters")
    return value


def _finite(value: Any, what: str) -> float:
    try:
        number = math.nan if isinstance(value, (str, bool)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise LatentEditError(f"{what} is {value!r}; give a finite number")
    return number


def _goal(value: Any, tag: str) -> float | str:
    if isinstance(value, str):
        found = PERCENTILE.fullmatch(value)
        if found and float(found[1]) <= 100:
            return f"p{decimal(float(found[1]))}"
    else:
        number = _finite(value, f"the goal of {tag!r}")
        if 0 <= number <= 1:
            return number
    raise LatentEditError(f"the goal of {tag!r} is {value!r}; give a score in [0, 1], or a percentile such as 'p90'")


def _layers(layers: Any) -> tuple[str, ...]:
    if isinstance(layers, int):
        layers = [layers]
    if not isinstance(layers, Sequence):
        raise LatentEditError(f"layers is {layers!r}; write indices, ranges or names of slots, as in '0-3,5'")
    parts = [part.strip() for part in layers.split(",")] if isinstance(layers, str) else [str(part) for part in layers]
    if not parts or not all(parts):
        raise LatentEditError("layers is empty; name at least one slot, or leave it out for all")
    return tuple(parts)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
