"""The errors that a user's input can cause; each message says what came, what is allowed and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path


class LatentEditError(Exception):
    """Anything that a user can put right; the command line prints it as one line."""


class UnknownNameError(LatentEditError):
    """A name that is not in a list of known ones."""

    def __init__(self, noun: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else ""
        shown = ", ".join(known[:40]) + (f", ... ({len(known)} in all)" if len(known) > 40 else "")
        super().__init__(f"unknown {noun} {name!r}; " + (hint + " " if hint else "") + f"known: {shown or 'none'}")


class DamagedFileError(LatentEditError):
    """A file that is missing, truncated, edited or of another run."""


class UnreadablePictureError(LatentEditError):
    """A picture that cannot be read; ``path`` is which, ``why`` the reason without its name."""

    def __init__(self, path: str | Path, message: str, why: str | None = None) -> None:
        super().__init__(message)
        self.path, self.why = path, why or message


class UnreadablePictures(UserWarning):
    """Pictures among others that cannot be read; what was asked for is done with the others.

    Args:
        where: they are: a folder, or what they are called together.
        of: pictures that are there.
        why: file → the reason, of those that are told now.
        then: what becomes of them.
    """

    def __init__(self, where: str, of: int, why: Mapping[str, str], *, then: str = "they are left out") -> None:
        super().__init__(f"{unreadable(why, of)}; {then}")
        self.where, self.of, self.why = where, of, dict(why)


def unreadable(why: Mapping[str, str], of: int) -> str:
    """Which of so many pictures cannot be read, and why, as a line that names five of them."""
    named = [f"{file} ({reason})" for file, reason in list(why.items())[:5]]
    more = f" and {len(why) - 5} more" if len(why) > 5 else ""
    return f"{len(why)} of {of} pictures cannot be read: {', '.join(named)}{more}"


class UnsafeFileError(DamagedFileError):
    """A file that asks for code to be run, or for what it does not hold."""


class MismatchError(LatentEditError):
    """Things that do not belong together, such as directions of one generator and codes of another."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of whatever device: torch has a type of its own only for some."""
    said = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in said)
