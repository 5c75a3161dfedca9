"""Tags as text: which spellings are one tag.

``long hair``, ``long_hair`` and ``Long Hair`` are one. Case counts in what has no word of three letters: ``:D`` and
``:d`` are two tags, and so are ``XD`` and ``xd``. A tag that is known as it is written always means itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from latentedit.errors import LatentEditError, UnknownNameError

_WORD = re.compile(r"[^\W\d_]{3}")


def underscored(name: str) -> str:
    """A tag with underscores for spaces, and its letters in one Unicode form."""
    return "_".join(unicodedata.normalize("NFC", name).split())


def plain_tag(name: str) -> str:
    """What all spellings of a tag have in common."""
    tag = underscored(name)
    return tag.casefold() if _WORD.search(tag) else tag


def known_tag(name: str, known: Iterable[str]) -> str:
    """The known tag that a user means: itself, or the one that is alike but for spaces and case.

    ``Long Hair`` and ``Long_Hair`` mean ``long_hair``; what is not known comes back as it is.

    Args:
        name: as it was written.
        known: tags; of those that differ in spaces and underscores alone the first is meant.

    Raises:
        LatentEditError: tags that differ in case alone are alike, and none of them is what was written.
    """
    exact, alike = tag_index(tuple(known))
    found = [name] if name in exact else spellings(name, alike) or [name]
    if len(found) > 1:
        raise LatentEditError(f"{name!r} may be {' or '.join(map(repr, found))}; write one of them")
    return found[0]


def found_tag(name: str, known: Iterable[str], kind: str = "tag") -> str:
    """:func:`known_tag`, which is one of the known.

    Raises:
        UnknownNameError: it is none of them; the message calls it by its kind.
        LatentEditError: as of :func:`known_tag`.
    """
    found = known_tag(name, known := tuple(known)) if isinstance(name, str) else name
    if found not in known:
        raise UnknownNameError(kind, str(name), known)
    return found


def known_tags(names: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """:func:`known_tag` of each."""
    known = tuple(known)
    return tuple(known_tag(name, known) for name in names)


@lru_cache(maxsize=64)
def tag_index(known: tuple[str, ...]) -> tuple[frozenset[str], dict[str, list[str]]]:
    """Known tags, and those that are alike but for spaces and case, by :func:`folded`; of one tag the first."""
    alike: dict[str, list[str]] = {}
    first: set[str] = set()
    for tag in known:
        if (same := underscored(tag)) not in first:
            first.add(same)
            alike.setdefault(folded(tag), []).append(tag)
    return frozenset(known), alike


def spellings(name: str, alike: dict[str, list[str]]) -> list[str]:
    """The tags that a text may mean, of the second part of :func:`tag_index`."""
    found = alike.get(folded(name), [])
    same = [tag for tag in found if plain_tag(tag) == plain_tag(name)]
    return same or found


def folded(name: str) -> str:
    """A tag with underscores and without capitals."""
    return underscored(name).casefold()


def shared_tags(first: Iterable[str], second: Iterable[str]) -> dict[str, str]:
    """Tags of the first that the second has as well → their spelling there, in the first one's order."""
    return dict(_shared(tuple(first), tuple(second)))


@lru_cache(maxsize=64)
def _shared(first: tuple[str, ...], second: tuple[str, ...]) -> dict[str, str]:
    exact, own = set(second), set(first)
    theirs: dict[str, str] = {}
    for tag in second:
        theirs.setdefault(plain_tag(tag), tag)
    found: dict[str, str] = {}
    taken: set[str] = set()
    for tag in first:
        other = tag if tag in exact else theirs.get(plain_tag(tag))
        if other is not None and (other == tag or (other not in own and other not in taken)):
            found[tag] = other
            taken.add(other)
    return found
