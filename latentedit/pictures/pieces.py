"""Batches of pictures that fit: where memory runs out, the work goes on in smaller pieces."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from latentedit.errors import LatentEditError, out_of_memory

_FITS: WeakKeyDictionary[object, int] = WeakKeyDictionary()


def in_pieces(work: Callable[[slice], Tensor], n: int, owner: object) -> Tensor:
    """What ``work`` makes of rows 0 ... n, at once, or where memory runs out in pieces half as large, and so on.

    What has fitted is remembered for an owner, so that its next batches do not run into the same wall.

    Args:
        work: rows to a tensor with a row each; a row must not depend on its neighbours.
        n: rows.
        owner: the network that works, with an ``id``.

    Raises:
        LatentEditError: not even one row fits.
    """
    size, start = max(1, min(n, _limit(owner))), 0
    found: list[Tensor] = []
    while start < n or not found:
        try:
            found.append(work(slice(start, min(start + size, n))))
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if size == 1:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise LatentEditError(
                    f"one picture of {_name(owner)} does not fit in memory ({reason}); free some, or choose another "
                    "--device or a smaller --dtype"
                ) from error
        else:
            start += size
            continue
        # Outside of the handler: there the error still holds what the failed batch had in memory.
        size = -(-size // 2)
        with suppress(TypeError):  # not everything can be referred to weakly
            _FITS[owner] = size
        pictures = "1 picture" if size == 1 else f"{size} pictures"
        warnings.warn(f"memory ran out; {_name(owner)} goes on with {pictures} at once", stacklevel=2)
    return found[0] if len(found) == 1 else torch.cat(found)


def _limit(owner: object) -> int:
    with suppress(TypeError):
        return _FITS.get(owner, 2**31)
    return 2**31


def _name(owner: object) -> str:
    return str(getattr(owner, "id", type(owner).__name__))
