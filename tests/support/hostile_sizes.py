"""Files that claim more than they hold, or that become large, deep or endless; see :mod:`hostile`."""

from __future__ import annotations

import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from assembler import TEN_GB, array, call, legacy, name, number, pickled, shared, storage, tensor, text, zipped


def claims(marker: Path) -> Iterator[tuple[str, bytes]]:
    """More numbers than there are."""
    big, one = b"(" + number(TEN_GB) + b"t", b"(K\1t"
    yield "claim-storage.zip.pt", zipped(tensor(storage(TEN_GB), big, one))
    yield "claim-storage.legacy.pt", legacy(tensor(storage(TEN_GB), big, one), counts=(TEN_GB,))
    yield "claim-lie.legacy.pt", legacy(tensor(storage(4), b"(K\4t", one), counts=(TEN_GB,))
    yield "claim-missing.legacy.pt", legacy(tensor(storage(4), b"(K\4t", one), keys=[], counts=())
    yield "claim-twice.legacy.pt", legacy(tensor(storage(4), b"(K\4t", one), keys=["0", "0"], counts=(4, 4))
    yield "claim-negative.legacy.pt", legacy(tensor(storage(-4), b"(K\4t", one))
    yield "claim-many.legacy.pt", legacy(b"(" + b"".join(storage(100, number(i)) for i in range(2000)) + b"t", [], ())
    for what, (size, stride, offset) in {
        "stride-0": (big, b"(K\0t", 0),
        "outside": (b"(K\4t", one, 1),
        "offset": (one, one, TEN_GB),
        "negative": (b"(" + number(-1) + b"t", one, 0),
        "negatives": (b"(" + number(-2) * 2 + b"t", b"(K\1K\1t", 0),
        "stride-negative": (b"(K\4t", b"(" + number(-1) + b"t", 3),
        "dimensions": (b"(" + b"K\1" * 100_000 + b"t",) * 2 + (0,),
        "rank": (b"(K\4t", b")", 0),
        "overflow": (b"(" + number(2**62) * 4 + b"t", b"(K\0K\0K\0K\0t", 0),
        "huge": (b"(" + number(2**1900) + b"t", one, 0),
        "zero-huge": (b"(K\0" + number(2**63) + b"t", b"(K\1K\1t", 0),
        "zero-product": (b"(K\0" + number(2**47) * 2 + b"t", b"(K\1K\1K\1t", 0),
        "floats": (b"(G\x40\0\0\0\0\0\0\0t", one, 0),
        "text": (text("4"), one, 0),
        "none": (b"N", b"N", 0),
    }.items():
        yield f"tensor-{what}.zip.pt", zipped(tensor(storage(4), size, stride, offset))
        yield f"tensor-{what}.legacy.pt", legacy(tensor(storage(4), size, stride, offset))
    many = (
        storage(2_500_000)
        + b"q\1"
        + name("torch._utils", "_rebuild_tensor_v2")
        + b"q\2("
        + (b"h\2(h\1K\0(" + number(2_500_000) + b"t(K\1t\x89NtR") * 50
    )
    yield "tensor-again.zip.pt", zipped(many + b"t", {"data/0": b"\0" * 10_000_000})
    for what, (kind, shape, data) in {
        "object": (text("O8"), b"(K\1t", b"]N\x61"),
        "void": (text("V10000000000"), b"(K\1t", b"C\0"),
        "struct": (text("f4,f4"), b"(K\1t", b"C\x08" + b"\0" * 8),
        "sub": (text("10000000000f4"), b"(K\1t", b"C\0"),
        "text": (text("U1000000000"), b"(K\1t", b"C\0"),
        "code": (b"N", b"(K\1t", b"C\0"),
        "long": (text("f16"), b"(K\1t", b"C\x10" + b"\0" * 16),
        "short": (text("f4"), big, b"C\0"),
        "integer": (text("f4"), big, number(TEN_GB)),
        "negatives": (text("f4"), b"(" + number(-2) * 2 + b"t", b"C\x10" + b"\0" * 16),
        "list": (text("u1"), b"(K\1t", b"]K\1a"),
    }.items():
        yield f"array-{what}.pkl", pickled(array(kind, shape, data))
    f4 = call(name("numpy", "dtype"), text("f4"))
    yield (
        "array-buffer.pkl",
        pickled(call(name("numpy.core.numeric", "_frombuffer"), number(TEN_GB), f4, big, text("C"))),
    )
    yield "array-scalar.pkl", pickled(call(name("numpy.core.multiarray", "scalar"), f4, b"C\0"))
    for module in ("builtins", "__builtin__"):
        yield f"bytearray-{module}.pkl", pickled(call(name(module, "bytearray"), number(TEN_GB)))
    yield "size.pkl", pickled(call(name("torch", "Size"), number(TEN_GB)))
    for what, head in {"bytes": b"\x8e", "text": b"\x8d", "bytearray": b"\x96", "frame": b"\x95"}.items():
        yield f"length-{what}.pkl", pickled(head + struct.pack("<Q", TEN_GB) + b"abc")
    yield "length-long.pkl", pickled(b"\x8b" + struct.pack("<i", 2**31 - 1) + b"abc")
    yield "length-negative.pkl", pickled(b"T" + struct.pack("<i", -5) + b"abc")
    yield "digits.pkl", pickled(b"I" + b"9" * 100_000 + b"\n")


def archives(marker: Path) -> Iterator[tuple[str, bytes]]:
    """Zip archives that no torch.save wrote."""
    good = tensor(storage(4), b"(K\4t", b"(K\1t")
    for member in ("../../evil", "/etc/passwd", "C:/evil", "a/../../evil", "a\\..\\evil"):
        yield f"member-{zlib.crc32(member.encode())}.zip.pt", zipped(good, {"data/0": b"\0" * 16, member: b"x"})
    yield "compressed.zip.pt", zipped(good, {"data/0": b"\0" * 200_000_000}, zipfile.ZIP_DEFLATED)
    whole = zipped(good)
    end = whole.rindex(b"PK\5\6")
    yield "members-many.zip.pt", whole[:end] + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, 2**31, 0, 0)
    table = whole.index(b"PK\1\2")
    claim = whole[: table + 20] + struct.pack("<II", 2**32 - 2, 2**32 - 2) + whole[table + 28 :]
    yield "member-large.zip.pt", claim
    last = whole.rindex(b"PK\1\2")
    yield "member-offset.zip.pt", whole[: last + 42] + struct.pack("<I", 2**32 - 2) + whole[last + 46 :]
    yield "member-encrypted.zip.pt", whole[: table + 8] + b"\1\0" + whole[table + 10 :]
    start = whole.rindex(b"PK\3\4")
    yield "member-header.zip.pt", whole[: start + 26] + b"\xff\xff\xff\xff" + whole[start + 30 :]
    locator = b"PK\6\7" + struct.pack("<IQI", 0, 2**60, 1)
    yield "zip64.zip.pt", whole[:end] + locator + whole[end:]
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 2**40, 2**40, 2**46, 0)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, end, 1)
    yield "zip64-many.zip.pt", whole[:end] + record + locator + whole[end:]
    entries = b"".join(whole[table : table + 46 + 16] for _ in range(90_000))
    tail = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, len(entries), table, 0)
    yield "members-again.zip.pt", whole[:table] + entries + tail
    for cut in range(40, len(whole), max(1, len(whole) // 25)):
        yield f"cut-{cut}.zip.pt", whole[:cut]
    old = legacy(good)
    for cut in range(12, len(old), max(1, len(old) // 25)):
        yield f"cut-{cut}.legacy.pt", old[:cut]


def safetensors(marker: Path) -> Iterator[tuple[str, bytes]]:
    """Headers that lie."""

    def with_header(header: bytes, data: bytes = b"\0" * 16, length: int | None = None) -> bytes:
        return struct.pack("<Q", len(header) if length is None else length) + header + data

    entry = b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,%d]}}'
    yield "header-10gb.safetensors", with_header(entry % 16, length=TEN_GB)
    yield "header-max.safetensors", with_header(entry % 16, length=2**64 - 1)
    yield "header-data.safetensors", with_header(entry % TEN_GB)
    yield "header-cut.safetensors", with_header(entry % 16, b"\0" * 15)
    yield "header-deep.safetensors", with_header(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
    yield "header-list.safetensors", with_header(b'{"a":[]}')
    yield "header-digits.safetensors", with_header(b'{"a":{"data_offsets":[0,%s]}}' % (b"9" * 10_000))
    yield (
        "header-shape.safetensors",
        with_header(entry.replace(b"[4]", b"[4611686018427387904,4]") % 16),
    )
    twice = entry[:-1] % 16 + b"," + entry[1:].replace(b'"a"', b'"b"') % 16
    yield "header-overlap.safetensors", with_header(twice)
    yield "header-long.safetensors", with_header(b"{" + b" " * 20_000_000 + b"}")
    yield "header-0x80.safetensors", with_header(b"{" + b" " * 126 + b"]")


def bombs(marker: Path) -> Iterator[tuple[str, bytes]]:
    """Small files that become large, deep or endless."""
    tuples = shared(b")", 60, b"@@\x86")
    lists = shared(b"]", 60, b"](@@e")
    for what, body in {
        "tuples-key": b"}" + tuples + b"K\1s",
        "tuples-set": b"\x8f(" + tuples + b"\x90",
        "tuples-frozenset": b"(" + tuples + b"\x91",
        "tuples-pairs": call(name("collections", "OrderedDict"), b"](" + tuples + b"K\1\x86e"),
        "tuples-makeset": call(name("builtins", "set"), b"](" + tuples + b"e"),
        "frozensets": shared(b"(\x91", 60, b"(@(@\x91\x91") + b"q\1}h\1K\1s",
        "lists-path": call(name("pathlib", "PosixPath"), lists),
        "lists-encode": call(name("_codecs", "encode"), lists),
        "lists-code": call(name("numpy", "dtype"), lists),
        "lists": lists,
        "tuples": tuples,
        "lists-object": name("argparse", "Namespace") + b")\x81}" + text("a") + lists + b"sb",
        "self-list": b"]q\1h\1a",
        "self-dict": b"}q\1" + text("a") + b"h\1s",
        "self-object": name("a", "b") + b")\x81q\1}" + text("a") + b"h\1sb",
        "self-module": name("torch.nn", "M")
        + b")\x81q\1}("
        + text("_parameters")
        + b"}"
        + text("_modules")
        + b"}"
        + text("a")
        + b"h\1sub",
        "deep-lists": b"]" * 100_000 + b"a" * 99_999,
        "deep-dicts": b"}K\1" * 100_000 + b"N" + b"s" * 100_000,
        "deep-tuples-key": b"})" + b"\x85" * 200_000 + b"K\1s",
        "names": shared(b"}", 100, b"}" + text("n" * 50_000) + b"@s"),
        "number-key": b"}" + b"\x8b" + struct.pack("<i", 100) + b"\x7f" * 100 + b"Ns",
        "sets": b"\x8f" * 3_000_000,
        "marks": b"(" * 3_000_000,
        "dicts": b"}" * 3_000_000,
        "nones": b"N" * 6_000_000,
        "memo": b"N" + b"\x94" * 3_000_000,
        "classes": b"".join(name("a", f"b{i}") for i in range(300_000)),
        "objects": name("a", "b") + b"q\1" + b"h\1)\x81" * 500_000,
        "encode": name("_codecs", "encode") + b"q\1" + text("x" * 5_000_000) + b"q\2" + b"h\1(h\2tR" * 1000,
        "list-copies": name("torch", "Size") + b"q\1](" + b"N" * 1_000_000 + b"eq\2" + b"h\1(h\2tR" * 1000,
    }.items():
        yield f"bomb-{what}.pkl", pickled(body)
    swapped = call(name("numpy", "dtype"), text("f4")) + b"(K\x03" + text(">") + b"NNN" + number(-1) * 2 + b"K\0tbq\5"
    data = b"B" + struct.pack("<I", 4_000_000) + b"\0" * 4_000_000 + b"q\6"
    start = name("numpy.core.multiarray", "_reconstruct") + b"q\7"
    again = b"h\7)R(K\x01(" + number(1_000_000) + b"th\5\x89h\6tb"
    yield "bomb-swapped.pkl", pickled(swapped + data + start + again * 500)
    inner = legacy(storage(1_000_000), counts=(0,))[:-8] + struct.pack("<q", 1_000_000) + b"\0" * 4_000_000
    load = name("torch.storage", "_load_from_bytes") + b"q\1" + name("_codecs", "encode") + b"q\2"
    again = b"h\1(h\2(h\3" + text("latin1") + b"tRtR"
    yield "bomb-storages.pkl", pickled(load + text(inner.decode("latin1")) + b"q\3" + again * 500)
    keyed = b"(" + text("storage") + name("torch", "FloatStorage") + tuples + text("cpu") + b"K\4tQ"
    yield "bomb-key.zip.pt", zipped(keyed)
    yield "bomb-key.legacy.pt", legacy(keyed)
    yield "bomb-keys.legacy.pt", legacy(storage(4), [])[: -len(pickle.dumps([], 2)) - 12 - 12] + pickled(tuples, 2)
