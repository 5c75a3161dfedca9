"""The errors that a user's input can cause; each message says what came, what is allowed and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
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
    """A picture that cannot be read; ``path`` is which."""

    def __init__(self, path: str | Path, message: str) -> None:
        super().__init__(message)
        self.path = path


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
