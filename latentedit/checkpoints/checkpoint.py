"""Foreign files of weights: what is in them, whatever they were written with, and never any code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from latentedit.checkpoints.diagnosis import diagnose_file, diagnose_tensors, diagnose_tree, is_old_pickle
from latentedit.checkpoints.torch_files import LEGACY_MAGIC, Call, read_legacy_file, read_pickle, read_zip
from latentedit.checkpoints.unpickling import Inert, shown
from latentedit.errors import DamagedFileError, UnsafeFileError

_MOST = 100_000_000  # work of walking through a tree, in bytes; more is a file that refers to itself over and over
_LONGEST_HEADER = 16_000_000  # of safetensors, in bytes; a model of 2000 tensors has 0.2 MB
_DEEPEST = 200
_WALKED = (Tensor, np.ndarray, dict, list, tuple, Inert)
_LEGACY_START = b"\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little")


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        path: the file.
        container: "safetensors", "torch zip", "torch legacy" or "pickle".
        tree: nested dictionaries and lists of tensors, numbers and texts; what else a pickle named is
            :class:`latentedit.checkpoints.unpickling.Inert` or :class:`latentedit.checkpoints.torch_files.Call`.
        metadata: of safetensors.
    """

    path: Path
    container: str
    tree: Any
    metadata: Mapping[str, str] = field(default_factory=dict)

    def state(self, *keys: str) -> dict[str, Tensor]:
        """Tensors by dotted name under the first of the keys that the tree has, or of the whole tree without keys.

        Objects of ``torch.nn.Module`` that were saved whole, with or without NVIDIA's persistence, have the
        names that their ``state_dict`` would have. Empty when there is none of the keys.

        Raises:
            UnsafeFileError: the tree refers to itself.
        """
        tree = self.tree
        if keys:
            held = tree if isinstance(tree, Mapping) else {}
            tree = next((held[key] for key in keys if key in held), None)
        try:
            return dict(_tensors(tree))
        except UnsafeFileError as error:
            raise UnsafeFileError(f"{self.path}: {error}") from error

    def diagnosis(self) -> str | None:
        """What other kind of file it seems to be, in a line; None when there is no telling."""
        return diagnose_tree(self.tree) or diagnose_tensors(self.state())

    def seems_to_be(self) -> str:
        """What the file holds, in a line, for one that no family of generators recognises."""
        if (seems := self.diagnosis()) is not None:
            return seems
        tensors = self.state()
        listed = [f"{shown(name)} {tuple(tensor.shape)}" for name, tensor in list(tensors.items())[:6]]
        more = f", ... ({len(tensors)} tensors)" if len(tensors) > 6 else ""
        return f"no family of generators knows it; it holds {', '.join(listed)}{more}"


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a file of weights: safetensors, ``torch.save`` in both layouts, or NVIDIA's pickles.

    No code runs, whatever the file asks for; memory stays near the file's size.

    Raises:
        DamagedFileError: no such file, truncated, or something else, and what it seems to be.
        UnsafeFileError: it asks for code, or claims to be larger than it is.
    """
    path = Path(path)
    if problem := diagnose_file(path):
        raise DamagedFileError(f"{path}: {problem}")
    try:
        checkpoint = _read(path)
        _check_extent(checkpoint.tree)
        return checkpoint
    except UnsafeFileError as error:
        raise UnsafeFileError(f"{path}: refused: {error}") from error
    except DamagedFileError as error:
        raise DamagedFileError(f"{path}: {error}") from error
    except OSError:
        raise
    except MemoryError as error:
        raise DamagedFileError(f"{path}: it needs more memory than there is") from error
    except Exception as error:  # a damaged file can go wrong with any exception there is
        raise DamagedFileError(f"{path}: damaged ({type(error).__name__}: {shown(str(error))})") from error


def _read(path: Path) -> Checkpoint:
    with open(path, "rb") as file:
        head = file.read(64)
    if head[:4] == b"PK\x03\x04":
        return Checkpoint(path, "torch zip", read_zip(path))
    if _LEGACY_START in head[:32]:
        return Checkpoint(path, "torch legacy", read_legacy_file(path))
    if head[8:9] != b"{" and (head[:1] == b"\x80" or is_old_pickle(head)):  # a header's length may start so too
        return Checkpoint(path, "pickle", read_pickle(path))
    tensors, metadata = _read_safetensors(path, int.from_bytes(head[:8], "little"))
    return Checkpoint(path, "safetensors", tensors, metadata)


def _read_safetensors(path: Path, header: int) -> tuple[dict[str, Tensor], dict[str, str]]:
    if header > _LONGEST_HEADER:
        raise DamagedFileError(
            "no file of torch.save, pickle or safetensors that this program knows; if it is one, download it again"
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise DamagedFileError(
            f"no file of torch.save, and as safetensors it is truncated or damaged ({shown(str(error))}); "
            "download it again"
        ) from error


def _check_extent(tree: Any) -> None:
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
        inner = [child for child in children if isinstance(child, _WALKED[2:])]
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


def _tensors(tree: Any) -> Iterator[tuple[str, Tensor]]:
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
        for key, child in _children(thing):
            work += 10
            if isinstance(child, _WALKED):
                place = f"{name}.{key}" if name else str(key)
                work += 200 + len(place)
                stack.append((place, child, depth + 1))
            if work > _MOST or depth >= _DEEPEST:
                raise UnsafeFileError("refused: its contents refer to themselves over and over")
        stack[below:] = stack[below:][::-1]


def _children(thing: Any) -> Iterator[tuple[Any, Any]]:
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
