"""Files of ``torch.save``, old layout and new, and pickles that hold tensors, read without running code.

:mod:`~latentedit.checkpoints.unpickling` says what can be built, :mod:`~latentedit.checkpoints.builders` builds it.
Tensors of a zip file stay in the file, mapped into memory, until they are used.
"""

from __future__ import annotations

import io
import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentedit.checkpoints.builders import Builders, Call
from latentedit.checkpoints.tensor_builders import Storage, sizes
from latentedit.checkpoints.unpickling import Budget, StandIn, amount, shown, unpickle
from latentedit.checkpoints.zip_files import Member, members
from latentedit.errors import DamagedFileError, UnsafeFileError

__all__ = ["LEGACY_MAGIC", "Call", "Storage", "read_legacy_file", "read_pickle", "read_zip"]

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def read_pickle(path: Path) -> Any:
    """A plain pickle, such as NVIDIA's networks."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        budget = Budget(len(mapped))
        return unpickle(mapped, Builders(budget, _read_storage).names, budget=budget)  # type: ignore[arg-type]


def read_legacy_file(path: Path) -> Any:
    """A file that ``torch.save`` wrote before version 1.6, or with its new zip layout switched off."""
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    budget = Budget(len(mapped))
    return _read_legacy(mapped, mapped, budget, Builders(budget, _read_storage))


def _read_storage(data: bytes, budget: Budget) -> Any:
    return _read_legacy(io.BytesIO(data), data, budget, Builders(budget))


def _read_legacy(file: Any, buffer: Any, budget: Budget, builders: Builders) -> Any:
    """Five pickles (magic number, version, system, tree, keys of the storages), then the storages.

    Args:
        file: the bytes as a file.
        buffer: the same bytes as a buffer, which storages are views of.
        budget: of the file.
        builders: of what the tree names.
    """
    table = builders.names
    storages = _LegacyStorages(len(buffer), budget)
    magic = unpickle(file, table, budget=budget)
    if not isinstance(magic, int) or magic != LEGACY_MAGIC:
        raise DamagedFileError("it is not a file of torch.save")
    unpickle(file, table, budget=budget)
    system = unpickle(file, table, budget=budget)
    if isinstance(system, dict) and system.get("little_endian", True) is not True:
        raise DamagedFileError("it was written on a big-endian machine; convert it there")
    start, builders.tensors.filled = file.tell(), False
    tree = unpickle(file, table, storages.load, budget)
    keys = unpickle(file, table, budget=budget)
    texts = isinstance(keys, list) and all(isinstance(name, str) for name in keys)
    if not texts or sorted(keys) != sorted(storages.found):
        raise DamagedFileError("it is truncated or damaged: its list of storages is not that of its tensors")
    for name in keys:
        _fill(storages.found[name], file, buffer)
    builders.tensors.filled = True
    if not builders.tensors.waits:
        return tree
    file.seek(start)
    return unpickle(file, table, storages.load, budget)


class _LegacyStorages:
    """Storages that a legacy tree refers to, by key; together not larger than the file."""

    def __init__(self, size: int, budget: Budget) -> None:
        self.found: dict[str, Storage] = {}
        self._size, self._left, self._budget = size, size, budget

    def load(self, pid: Any) -> Any:
        if isinstance(pid, tuple) and len(pid) > 1 and pid[0] == "module" and isinstance(pid[1], StandIn):
            return pid[1]  # the class of a module that was saved whole; its source comes after it
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise DamagedFileError("it refers to data of an unknown kind")
        _, dtype, name, _, count, *view = pid
        if view and view[0] is not None:
            raise DamagedFileError("it holds views of storages, as files of 2017 do; load it in an old torch")
        (count,) = sizes((count,))
        if not isinstance(dtype, torch.dtype) or not isinstance(name, str):
            raise DamagedFileError("it holds a storage without numbers")
        if name not in self.found:
            self._left -= count * dtype.itemsize
            if self._left < 0:
                claim = amount(count * dtype.itemsize)
                raise UnsafeFileError(f"it claims {claim} in a file of {amount(self._size)}, or is truncated")
            self._budget.spend(count * dtype.itemsize)
            self.found[name] = Storage(dtype, count)
        return self.found[name]


def _fill(storage: Storage, file: Any, buffer: Any) -> None:
    """Put in the bytes that come next in a legacy file."""
    header = file.read(8)
    if len(header) != 8 or struct.unpack("<q", header)[0] * storage.dtype.itemsize != storage.nbytes:
        raise DamagedFileError("it is truncated or damaged: a storage is missing")
    start = file.tell()
    if start + storage.nbytes > len(buffer):
        missing = start + storage.nbytes - len(buffer)
        raise DamagedFileError(f"it is truncated: {missing} bytes or more are missing; download it again")
    if storage.nbytes:
        storage.bytes.numpy()[:] = np.frombuffer(buffer, np.uint8, storage.nbytes, start)
    file.seek(start + storage.nbytes)


def read_zip(path: Path) -> Any:
    """A file of ``torch.save``: ``NAME/data.pkl`` and one stored member per storage."""
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    held = members(mapped)
    _check_members(held, len(mapped))
    main = next((name for name in sorted(held, key=len) if f"/{name}".endswith("/data.pkl")), None)
    if main is None:
        raise DamagedFileError("its zip archive has no data.pkl, so torch.save did not write it")
    folder = main.removesuffix("data.pkl")
    order = held.get(f"{folder}byteorder")
    if order is not None and (order.size > 10 or _content(mapped, order) != b"little"):
        raise DamagedFileError("it was written on a big-endian machine; convert it there")
    storages: dict[str, Storage] = {}

    def persistent_load(pid: Any) -> Storage:
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage" or not isinstance(pid[1], torch.dtype):
            raise DamagedFileError("it refers to data of an unknown kind")
        _, dtype, name, _, count = pid
        (count,) = sizes((count,))
        member = held.get(f"{folder}data/{name}") if isinstance(name, str) else None
        if member is None or count * dtype.itemsize != member.size:
            has = "nothing" if member is None else f"{member.size} bytes"
            raise UnsafeFileError(f"it claims {count} numbers for a storage and holds {has}")
        if name not in storages:
            start = _start(mapped, member)
            data = torch.frombuffer(mapped, dtype=torch.uint8, count=member.size, offset=start) if count else None
            storages[name] = Storage(dtype, count, data)
        return storages[name]

    budget = Budget(len(mapped))
    names = Builders(budget, _read_storage).names
    return unpickle(io.BytesIO(_content(mapped, held[main])), names, persistent_load, budget)


def _check_members(held: dict[str, Member], size: int) -> None:
    for name, member in held.items():
        if name.startswith("/") or "\\" in name or ".." in name.split("/") or name[1:2] == ":":
            raise UnsafeFileError(f"its zip archive names {shown(name)!r}, a path outside itself")
        if not member.stored:
            raise UnsafeFileError(f"its member {shown(name)!r} is compressed or encrypted; save it with torch.save")
        if member.offset + member.size > size:
            raise DamagedFileError(f"its zip archive is damaged: {shown(name)!r} claims {amount(member.size)}")
    if sum(member.size for member in held.values()) > size:
        raise UnsafeFileError("its zip archive holds more than the file's size")


def _start(mapped: Any, member: Member) -> int:
    """Where a member's bytes start: after its local header, whose length only the header tells."""
    header = mapped[member.offset : member.offset + 30]
    if len(header) != 30 or header[:4] != b"PK\x03\x04":
        raise DamagedFileError(f"its zip archive is damaged at {shown(member.name)!r}")
    name, extra = struct.unpack("<HH", header[26:30])
    start = member.offset + 30 + int(name) + int(extra)
    if start + member.size > len(mapped):
        raise DamagedFileError(f"its zip archive is truncated in {shown(member.name)!r}")
    return start


def _content(mapped: Any, member: Member) -> bytes:
    start = _start(mapped, member)
    return bytes(mapped[start : start + member.size])
