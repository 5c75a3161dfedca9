"""How tags are related: opposing pairs, groups of tags that exclude each other, and what may change with a group.

It comes from ``directions/pairs.toml`` and, if wanted, from a user's file of the same form: ordered pairs
such as ``long_hair`` / ``short_hair`` with a ratio, named groups such as the hair colours, and for some groups a list
of related tags: a mouth that opens may show teeth, though teeth and an open mouth do not exclude each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from latentedit.errors import LatentEditError, UnknownNameError
from latentedit.files import read_toml
from latentedit.shipped import shipped
from latentedit.taggers.tag_names import known_tag, known_tags, plain_tag, shared_tags

UMBRELLAS = {"hair": ("hair_length", "hair_color")}
"""Names that stand for several groups where a group is named."""


@dataclass(frozen=True)
class TagPair:
    """Two tags that are edited together: strength s moves ``positive`` by s and ``negative`` by ``ratio * s``.

    Raises:
        LatentEditError: the same tag twice, or a ratio that is not finite.
    """

    positive: str
    negative: str
    ratio: float = -1 / 3

    def __post_init__(self) -> None:
        if plain_tag(self.positive) == plain_tag(self.negative):
            raise LatentEditError(f"{self.positive!r} cannot be its own opposite")
        if not math.isfinite(self.ratio):
            raise LatentEditError(f"ratio {self.ratio} of {self.positive!r} and {self.negative!r}: not a finite number")


@dataclass(frozen=True)
class TagRelations:
    """Opposing pairs, groups of tags that exclude each other, and what is related to a group.

    Attributes:
        pairs: a tag is in at most one; both its tags are in one group.
        groups: name to tags of one attribute, of which a picture carries one in earnest; a tag is in at most
            one. A pair outside all groups is a group of its own.
        related: name of a group to the tags that may change when one of that group is edited, besides the group
            itself. A tag may be in several of these lists, and in a group of another name.

    Raises:
        LatentEditError: one of these rules is broken.
    """

    pairs: tuple[TagPair, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    related: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, tags in self.related.items():
            if name not in self.groups:
                known = filter(str.isprintable, self.groups)
                raise UnknownNameError("group to which tags are related", name, known)
            if again := [tag for i, tag in enumerate(tags) if tag in tags[:i]]:
                raise LatentEditError(f"tag {again[0]!r} is twice among those related to {name!r}; keep one")
        home: dict[str, str] = {}
        for name, tags in self.groups.items():
            for tag in tags:
                if (plain := plain_tag(tag)) in home:
                    raise LatentEditError(f"tag {tag!r} is in group {home[plain]!r} and again in {name!r}; keep one")
                home[plain] = name
        paired: set[str] = set()
        for pair in self.pairs:
            plain_tags = [plain_tag(tag) for tag in (pair.positive, pair.negative)]
            for tag, plain in zip((pair.positive, pair.negative), plain_tags, strict=True):
                if plain in paired:
                    raise LatentEditError(f"tag {tag!r} is in two pairs; keep one")
                paired.add(plain)
            if home.get(plain_tags[0]) != home.get(plain_tags[1]):
                names = [repr(home[plain]) if plain in home else "none" for plain in plain_tags]
                raise LatentEditError(
                    f"the pair {pair.positive!r}, {pair.negative!r} needs one group for both; "
                    f"their groups are {names[0]} and {names[1]}"
                )

    @classmethod
    def load(cls, path: str | Path | None = None) -> TagRelations:
        """The shipped ``directions/pairs.toml`` and, when given, a user's file that has the last word.

        The user's groups replace shipped ones of the same name, and take their tags out of other shipped
        groups; the user's pairs replace shipped pairs that share a tag with them, and leave the shipped groups
        unless one holds both tags. A shipped pair that the user's groups tear apart is dropped. The user's list of
        related tags replaces the shipped one of its name, and so does a user's group without such a list.

        Raises:
            DamagedFileError: the file is missing or not TOML.
            LatentEditError: it breaks a rule of :class:`TagRelations`.
        """
        ours = _read_shipped()
        return ours if path is None else _read(Path(path), over=ours)

    def _overridden_by(self, other: TagRelations) -> TagRelations:
        taken = {tag for tags in other.groups.values() for tag in tags}
        groups = {
            name: tuple(tag for tag in tags if tag not in taken)
            for name, tags in self.groups.items()
            if name not in other.groups
        }
        home = {tag: name for name, tags in (groups | dict(other.groups)).items() for tag in tags}
        paired = {tag for pair in other.pairs for tag in (pair.positive, pair.negative)}
        kept = tuple(
            pair
            for pair in self.pairs
            if paired.isdisjoint((pair.positive, pair.negative)) and home.get(pair.positive) == home.get(pair.negative)
        )
        apart = {
            tag
            for pair in other.pairs
            if home.get(pair.positive) != home.get(pair.negative)
            for tag in (pair.positive, pair.negative)
        }
        groups = {name: tuple(tag for tag in tags if tag not in apart) for name, tags in groups.items()}
        related = {name: tags for name, tags in self.related.items() if name not in other.groups}
        return TagRelations(kept + other.pairs, groups | dict(other.groups), related)

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags of pairs, groups and what is related to them."""
        paired = [tag for pair in self.pairs for tag in (pair.positive, pair.negative)]
        return _once(paired, *self.groups.values(), *self.related.values())

    def spelled_as(self, tags: Iterable[str]) -> TagRelations:
        """The same with the spelling of these tags, where they name one of them in another."""
        spelling = {tag: tag for tag in self.tags} | shared_tags(self.tags, tags)
        if all(one == other for one, other in spelling.items()):
            return self
        pairs = tuple(TagPair(spelling[p.positive], spelling[p.negative], p.ratio) for p in self.pairs)
        groups, related = (
            {name: tuple(spelling[tag] for tag in held) for name, held in lists.items()}
            for lists in (self.groups, self.related)
        )
        return TagRelations(pairs, groups, related)

    def opposite_of(self, tag: str) -> TagPair | None:
        """The pair of a tag, turned so that the tag is its positive one; None when it has no opposite."""
        tag = known_tag(tag, self.tags)
        for pair in self.pairs:
            if tag == pair.positive:
                return pair
            if tag == pair.negative:
                return TagPair(pair.negative, pair.positive, pair.ratio)
        return None

    def group_of(self, tag: str) -> tuple[str, ...]:
        """The tags that exclude each other and this one, itself included; ``(tag,)`` when there are none."""
        tag = known_tag(tag, self.tags)
        for tags in self.groups.values():
            if tag in tags:
                return tags
        pair = self.opposite_of(tag)
        return (pair.positive, pair.negative) if pair else (tag,)

    def related_to(self, tag: str) -> tuple[str, ...]:
        """The tags that may change when this one is edited, itself included: its group, and what is related.

        A group and its related tags are one, and all of it may change with any tag of it: a mouth that opens may smile,
        and a smile may open the mouth. It goes one step: what is related to a related tag by another list is not added.
        """
        tag = known_tag(tag, self.tags)
        wide = (self._widened(name) for name in self.related)
        return _once(self.group_of(tag), *(tags for tags in wide if tag in tags))

    def named(self, name: str) -> tuple[str, ...]:
        """The tags that a user means who names a group: those of it, and those related to it.

        ``hair`` is both its length and its colour, unless there is a group of that name.

        Raises:
            UnknownNameError: there is no such group.
        """
        names = (name,) if name in self.groups else UMBRELLAS.get(name, (name,))
        if not all(one in self.groups for one in names):
            umbrellas = [one for one, parts in UMBRELLAS.items() if all(part in self.groups for part in parts)]
            raise UnknownNameError("group", name, [*self.groups, *umbrellas])
        return _once(*(self._widened(one) for one in names))

    def _widened(self, name: str) -> tuple[str, ...]:
        return _once(self.groups[name], self.related.get(name, ()))


def _once(*tags: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(chain.from_iterable(tags)))


@cache
def _read_shipped() -> TagRelations:
    return _read(shipped("directions/pairs.toml"))


def _read(path: Path, *, over: TagRelations | None = None) -> TagRelations:
    """What a file says, or what is left of others when it has the last word."""
    content = read_toml(path)
    try:
        unknown = sorted(set(content) - {"pair", "groups", "related"})
        if unknown:
            raise LatentEditError(f"unknown key {unknown[0]!r}; known: pair, groups, related")
        pairs = tuple(_read_pair(pair) for pair in _table(content.get("pair", []), list, "[[pair]]"))
        groups, related = _read_lists(content, "groups", "group"), _read_lists(content, "related", "related")
        found = TagRelations(pairs, groups)
        if over is not None:
            found = over._overridden_by(found.spelled_as(over.tags))
        related = {name: known_tags(tags, found.tags) for name, tags in related.items()}
        return replace(found, related={**found.related, **related})
    except LatentEditError as error:
        raise LatentEditError(f"{path}: {error}") from error


def _read_lists(content: dict[str, Any], key: str, what: str) -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(_text(tag, f"a tag of {what} {name!r}") for tag in _table(tags, list, f"{what} {name!r}"))
        for name, tags in _table(content.get(key, {}), dict, f"[{key}]").items()
    }


def _read_pair(pair: Any) -> TagPair:
    pair = _table(pair, dict, "a pair")
    unknown = sorted(set(pair) - {"positive", "negative", "ratio"})
    if unknown or not {"positive", "negative"} <= set(pair):
        raise LatentEditError(f"pair {pair}: write positive and negative, and ratio if you like")
    ratio = pair.get("ratio", -1 / 3)
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)):
        raise LatentEditError(f"pair {pair}: the ratio must be a number")
    try:
        ratio = float(ratio)
    except OverflowError as error:  # TOML's integers have no end
        raise LatentEditError(f"the ratio of {pair['positive']!r} is too large; write a number near -1/3") from error
    return TagPair(_text(pair["positive"], "positive"), _text(pair["negative"], "negative"), ratio)


def _table(value: Any, kind: type, what: str) -> Any:
    if not isinstance(value, kind):
        raise LatentEditError(f"{what} is {value!r}; it must be a {'list' if kind is list else 'table'}")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise LatentEditError(f"{what} is {value!r}; write a tag in quotes")
    return value
