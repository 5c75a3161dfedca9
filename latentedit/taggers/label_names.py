"""Names of pictures in label tables: which pictures of a folder or a run they mean.

Names are compared in one Unicode form, with folders or without, with slashes of either kind, in capitals or not, and
as they stand in web addresses; the plainest agreement counts, and only where it leaves no choice.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable
from pathlib import PurePosixPath
from urllib.parse import unquote

from latentedit.errors import LatentEditError


def plain_name(name: str) -> str:
    """A name with one kind of slashes, without what web addresses write in its place, in one Unicode form."""
    if re.search(r"%[0-9A-Fa-f]{2}", name):
        name = unquote(name)
    path = PurePosixPath(unicodedata.normalize("NFC", name).replace("\\", "/"))
    return str(path)  # which leaves ./ out


def last_part(name: str) -> str:
    """The name of a picture without its folders."""
    return PurePosixPath(plain_name(name)).name


_WAYS: tuple[Callable[[str], str], ...] = (
    lambda name: unicodedata.normalize("NFC", name),
    plain_name,
    lambda name: plain_name(name).casefold(),
    lambda name: last_part(name).casefold(),
)


def meant_pictures(names: Iterable[str], pictures: Collection[str]) -> dict[str, str]:
    """Name of a table → the picture that it means, of those that mean one.

    Raises:
        LatentEditError: two names mean one picture, or one may mean two.
    """
    left, free, found = dict.fromkeys(names), dict.fromkeys(pictures), dict[str, str]()
    for name in [name for name in left if name in free]:
        found[name] = name
        del left[name], free[name]
    for way in _WAYS:
        places: dict[str, list[str]] = {}
        for picture in free:
            places.setdefault(way(picture), []).append(picture)
        for name in list(left):
            here = places.get(way(name), [])
            if len(here) > 1:
                raise LatentEditError(f"{name!r} may be {here[0]!r} or {here[1]!r}; write the whole name")
            if here and here[0] in free:
                found[name] = here[0]
                del left[name], free[here[0]]
            elif here:
                other = next(one for one, picture in found.items() if picture == here[0])
                raise LatentEditError(f"{name!r} and {other!r} are both {here[0]!r}; keep one")
    return found
