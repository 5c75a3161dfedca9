"""Pickles and files around them, made instruction by instruction; the opcodes' names are those of ``pickletools``."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

MAGIC = 0x1950A86A20F9469CFC6C
TEN_GB = 10**10


def text(value: str) -> bytes:
    """BINUNICODE."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """LONG1."""
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def name(module: str, what: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{what}\n".encode()


def stacked(module: str, what: str) -> bytes:
    """STACK_GLOBAL."""
    return text(module) + text(what) + b"\x93"


def plain(value: Any) -> bytes:
    """Instructions of a value that is not hostile."""
    return pickle.dumps(value, 2)[2:-1]


def call(function: bytes, *args: bytes) -> bytes:
    """REDUCE."""
    return function + b"(" + b"".join(args) + b"tR"


def shared(start: bytes, levels: int, double: bytes) -> bytes:
    """A value nested in itself, twice at each level: 2 ** levels when it is followed. ``@`` is the level below."""
    index = [struct.pack("<I", level) for level in range(levels)]
    return start + b"".join(b"r" + at + b"0" + double.replace(b"@", b"j" + at) for at in index)


def storage(count: int, key: bytes = plain("0"), kind: bytes = name("torch", "FloatStorage")) -> bytes:
    """A reference to numbers outside the pickle."""
    return b"(" + text("storage") + kind + key + text("cpu") + number(count) + b"tQ"


def tensor(held: bytes, size: bytes, stride: bytes, offset: int = 0) -> bytes:
    """A tensor."""
    return call(name("torch._utils", "_rebuild_tensor_v2"), held, number(offset), size, stride, b"\x89", b"N")


def array(code: bytes, shape: bytes, data: bytes) -> bytes:
    """An array of numpy."""
    kind = (
        call(name("numpy", "dtype"), code, b"\x89", b"\x88")
        + b"(K\x03"
        + text("<")
        + b"NNN"
        + number(-1) * 2
        + b"K\0tb"
    )
    start = call(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), b"(K\0t", b"C\x01b")
    return start + b"(K\x01" + shape + kind + b"\x89" + data + b"tb"


def pickled(body: bytes, protocol: int = 4) -> bytes:
    """A whole pickle."""
    return b"\x80" + bytes([protocol]) + body + b"."


def zipped(
    body: bytes, members: Mapping[str, bytes] = {"data/0": b"\0" * 16}, method: int = zipfile.ZIP_STORED
) -> bytes:  # noqa: B006
    """A file of torch.save in the zip layout."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("archive/data.pkl", pickled(body, 2))
        for member, data in {"version": b"3\n", **members}.items():
            archive.writestr(f"archive/{member}" if not member.startswith(("/", "..", "C:")) else member, data)
    return out.getvalue()


def legacy(body: bytes, keys: list[Any] = ["0"], counts: tuple[int, ...] = (4,)) -> bytes:  # noqa: B006
    """A file of torch.save in the old layout, storages of float32."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = b"".join(pickle.dumps(value, 2) for value in (MAGIC, 1001, system))
    data = b"".join(struct.pack("<q", count) + b"\0" * 4 * min(count, 100) for count in counts)
    return head + pickled(body, 2) + pickle.dumps(keys, 2) + data


def in_all(what: str, body: bytes) -> Iterator[tuple[str, bytes]]:
    """The same pickle in the three containers."""
    yield f"{what}.pkl", pickled(body)
    yield f"{what}.zip.pt", zipped(body)
    yield f"{what}.legacy.pt", legacy(body, [], ())
