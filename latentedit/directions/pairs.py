"""How tags are related: opposing pairs, and groups of tags that exclude each other.

It comes from ``directions/pairs.toml`` and, if wanted, from a user's file of the same form: ordered pairs
such as ``long_hair`` / ``short_hair`` with a ratio, and named groups such as the hair colours.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.shipped import shipped


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
        if self.positive == self.negative:
            raise LatentEditError(f"{self.positive!r} cannot be its own opposite")
        if not math.isfinite(self.ratio):
            raise LatentEditError(f"ratio {self.ratio} of {self.positive!r} and {self.negative!r}: not a finite number")


@dataclass(frozen=True)
class TagRelations:
    """Opposing pairs and groups of tags that exclude each other.

    Attributes:
        pairs: a tag is in at most one; both its tags are in one group.
        groups: name to tags of one attribute, of which a picture carries one in earnest; a tag is in at most
            one. A pair outside all groups is a group of its own.

    Raises:
        LatentEditError: one of these rules is broken.
    """

    pairs: tuple[TagPair, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        home: dict[str, str] = {}
        for name, tags in self.groups.items():
            for tag in tags:
                if tag in home:
                    raise LatentEditError(f"tag {tag!r} is in group {home[tag]!r} and again in {name!r}; keep one")
                home[tag] = name
        paired: set[str] = set()
        for pair in self.pairs:
            for tag in (pair.positive, pair.negative):
                if tag in paired:
                    raise LatentEditError(f"tag {tag!r} is in two pairs; keep one")
                paired.add(tag)
            if home.get(pair.positive) != home.get(pair.negative):
                names = [repr(home[tag]) if tag in home else "none" for tag in (pair.positive, pair.negative)]
                raise LatentEditError(
                    f"the pair {pair.positive!r}, {pair.negative!r} needs one group for both; "
                    f"their groups are {names[0]} and {names[1]}"
                )

    @classmethod
    def load(cls, path: str | Path | None = None) -> TagRelations:
        """The shipped ``directions/pairs.toml`` and, when given, a user's file that has the last word.

        The user's groups replace shipped ones of the same name, and take their tags out of other shipped
        groups; the user's pairs replace shipped pairs that share a tag with them, and leave the shipped groups
        unless one holds both tags. A shipped pair that the user's groups tear apart is dropped.

        Raises:
            DamagedFileError: the file is missing or not TOML.
            LatentEditError: it breaks a rule of :class:`TagRelations`.
        """
        ours = _read_shipped()
        return ours if path is None else ours._overridden_by(_read(Path(path)))

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
        return TagRelations(kept + other.pairs, groups | dict(other.groups))

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags of pairs and groups."""
        paired = [tag for pair in self.pairs for tag in (pair.positive, pair.negative)]
        return tuple(dict.fromkeys([*paired, *(tag for tags in self.groups.values() for tag in tags)]))

    def opposite_of(self, tag: str) -> TagPair | None:
        """The pair of a tag, turned so that the tag is its positive one; None when it has no opposite."""
        for pair in self.pairs:
            if tag == pair.positive:
                return pair
            if tag == pair.negative:
                return TagPair(pair.negative, pair.positive, pair.ratio)
        return None

    def group_of(self, tag: str) -> tuple[str, ...]:
        """The tags that exclude each other and this one, itself included; ``(tag,)`` when there are none."""
        for tags in self.groups.values():
            if tag in tags:
                return tags
        pair = self.opposite_of(tag)
        return (pair.positive, pair.negative) if pair else (tag,)


@cache
def _read_shipped() -> TagRelations:
    return _read(shipped("directions/pairs.toml"))


def _read(path: Path) -> TagRelations:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # lists in lists without end recurse
        raise DamagedFileError(f"{path}: cannot be read as TOML ({error})") from error
    try:
        unknown = sorted(set(content) - {"pair", "groups"})
        if unknown:
            raise LatentEditError(f"unknown key {unknown[0]!r}; known: pair, groups")
        pairs = tuple(_read_pair(pair) for pair in _table(content.get("pair", []), list, "[[pair]]"))
        groups = {
            name: tuple(_text(tag, f"a tag of group {name!r}") for tag in _table(tags, list, f"group {name!r}"))
            for name, tags in _table(content.get("groups", {}), dict, "[groups]").items()
        }
        return TagRelations(pairs, groups)
    except LatentEditError as error:
        raise LatentEditError(f"{path}: {error}") from error


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
    if not isinstance(value, str) or not value:
        raise LatentEditError(f"{what} is {value!r}; write a tag in quotes")
    return value
