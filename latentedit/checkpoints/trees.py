"""Trees of containers, modules and tensors, as pickles hold them, walked within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentedit.checkpoints.torch_files import Call
from latentedit.checkpoints.unpickling import Inert
from latentedit.errors import UnsafeFileError

_MOST = 100_000_000  # work of walking through a tree, in bytes; more is a file that refers to itself over and over
_DEEPEST = 200
WALKED = (Tensor, np.ndarray, dict, list, tuple, Inert)
"""What is looked into; anything else is a number, a text or the like."""


def check_extent(tree: Any) -> None:
    """Refuse plain containers that hold one another so often that printing or comparing them would not end.

    Extents are counted once per container, so that it takes O(entries).
    """
    extents: dict[int, int] = {}
    stack, entries = [(tree, False)], 0
    while stack:
        thing, done = stack.pop()
        if id(thing) in extents and not done:
            continue
        children = (
            list(thing.values()) if isinstance(thing, dict) else thing if isinstance(thing, (list, tuple)) else ()
        )
        inner = [child for child in children if isinstance(child, WALKED[2:])]
        if done:
            extents[id(thing)] = 1 + len(children) + sum(extents[id(child)] for child in inner)
            if extents[id(thing)] > 10 * entries + 1_000_000:
                raise UnsafeFileError("its contents refer to themselves over and over")
            continue
        extents[id(thing)] = 1  # while it is open, and for good where it is no plain container
        entries += 1 + len(children)
        if isinstance(thing, Inert):  # compared and printed by identity
            stack += [(part, False) for part in (thing.state, thing.entries, thing.args)]
        else:
            stack.append((thing, True))
            stack += [(child, False) for child in inner]


def module_fields(thing: Any) -> dict[str, Any] | None:
    """Attributes of a module that was saved whole, not to be changed; None when it is not one."""
    if isinstance(thing, Call):
        state = thing.args[0].get("state") if thing.args and isinstance(thing.args[0], dict) else None
        return state if isinstance(state, dict) else None
    if isinstance(thing, Inert) and isinstance(thing.state, dict) and "_parameters" in thing.state:
        return thing.state
    return None


def tensors_of(tree: Any) -> Iterator[tuple[str, Tensor]]:
    """Dotted name and value of every tensor and array of numbers."""
    stack, work = [("", tree, 0)], 0
    while stack:
        name, thing, depth = stack.pop()
        if isinstance(thing, Tensor):
            yield name, thing
            continue
        if isinstance(thing, np.ndarray):
            if thing.dtype.kind not in "biufc":  # text and dates
                continue
            yield name, torch.from_numpy(thing.view(np.ndarray))
            continue
        below = len(stack)
        for key, child in children(thing):
            work += 10
            if isinstance(child, WALKED):
                place = f"{name}.{key}" if name else str(key)
                work += 200 + len(place)
                stack.append((place, child, depth + 1))
            if work > _MOST or depth >= _DEEPEST:
                raise UnsafeFileError("refused: its contents refer to themselves over and over")
        stack[below:] = stack[below:][::-1]


def children(thing: Any) -> Iterator[tuple[Any, Any]]:
    """Name and thing of what a container or a module that was saved whole holds."""
    fields = module_fields(thing)
    if fields is not None:
        for group in ("_parameters", "_buffers", "_modules"):
            if isinstance(held := fields.get(group), dict):
                yield from held.items()
    elif isinstance(thing, dict):
        yield from thing.items()
    elif isinstance(thing, (list, tuple)) and not isinstance(thing, Call):
        yield from enumerate(thing)
    elif isinstance(thing, Inert):
        for held in (thing.state, thing.entries):
            if isinstance(held, dict):
                yield from held.items()
