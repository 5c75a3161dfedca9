"""Files that try to run code, to take memory without end or to crash their reader.

``write(folder, marker)`` writes them all. Code that runs would create the marker file.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from assembler import TEN_GB, call, in_all, legacy, name, number, pickled, plain, stacked, storage, tensor, text, zipped
from hostile_sizes import archives, bombs, claims, safetensors


def code(marker: Path) -> Iterator[tuple[str, bytes]]:
    """Calls of what must not be called, in every way that a pickle knows."""
    shell, python = text(f"touch {marker}"), text(f"open({str(marker)!r}, 'w')")
    targets = {
        "os.system": shell, "posix.system": shell, "nt.system": shell, "subprocess.Popen": shell,
        "subprocess.check_output": shell, "commands.getoutput": shell, "pty.spawn": shell,
        "builtins.eval": python, "builtins.exec": python, "__builtin__.eval": python, "builtins.compile": python,
        "builtins.__import__": text("antigravity"), "importlib.import_module": text("antigravity"),
        "builtins.getattr": text("x") + text("y"), "builtins.open": text(str(marker)) + text("w"),
        "builtins.bytes": number(TEN_GB), "builtins.str": shell, "builtins.list": shell,
        "pathlib.Path.touch": text(str(marker)), "runpy.run_path": python, "code.interact": b"", "ctypes.CDLL": shell,
        "functools.partial": shell, "operator.attrgetter": text("x"), "copyreg._reconstructor": shell,
        "copyreg.add_extension": shell, "pickle.loads": shell, "marshal.loads": shell, "types.FunctionType": shell,
        "numpy.load": shell, "numpy.memmap": text(str(marker)), "numpy.testing._private.utils.runstring": python + b"}",
        "torch.load": shell, "torch.hub.load": shell, "torch.jit.load": shell, "torch.serialization.load": shell,
        "torch.Tensor": number(TEN_GB), "torch.zeros": number(TEN_GB), "torch._utils._rebuild_sparse_tensor": shell,
        "latentedit.files.atomic_write": shell, "sklearn.svm._classes.SVC": shell, "webbrowser.open": shell,
        "torch._utils._rebuild_tensor_v2.__globals__": shell, "numpy.core.multiarray._reconstruct.__class__": shell,
    }  # fmt: skip
    for full, args in targets.items():
        module, _, what = full.rpartition(".")
        yield from in_all(f"reduce-{full}", call(name(module, what), args))
        yield f"stack-{full}.pkl", pickled(call(stacked(module, what), args))
        if args:
            yield f"inst-{full}.pkl", pickled(b"(" + args + f"i{module}\n{what}\n".encode())
            yield f"object-{full}.pkl", pickled(b"(" + name(module, what) + args + b"o")
    for full in ("os.system", "subprocess.Popen", "builtins.eval", "tempfile.TemporaryDirectory"):
        module, _, what = full.rpartition(".")
        yield from in_all(f"new-{full}", name(module, what) + b"(" + shell + b"t\x81")
        yield f"keywords-{full}.pkl", pickled(name(module, what) + b"(" + shell + b"t}\x92")
        yield f"empty-{full}.pkl", pickled(f"(i{module}\n{what}\n".encode())
    yield "text-0.pkl", f"cos\nsystem\n(S'touch {marker}'\ntR.".encode()
    yield "text-1.pkl", f"(S'touch {marker}'\nios\nsystem\n.".encode()
    yield "text-2.pkl", b"(dp0\nS'a'\np1\n" + f"cposix\nsystem\n(S'touch {marker}'\ntRs.".encode()
    evil = pickled(call(name("os", "system"), shell), 2)
    held = b"B" + struct.pack("<I", len(evil)) + evil
    nested = legacy(call(name("os", "system"), shell), [], ())
    for what, data in {"pickle": evil, "legacy": nested, "zip": zipped(call(name("os", "system"), shell))}.items():
        packed = b"B" + struct.pack("<I", len(data)) + data
        yield from in_all(f"inside-{what}", call(name("torch.storage", "_load_from_bytes"), packed))
    yield "inside-legacy-twice.pkl", pickled(call(name("torch.storage", "_load_from_bytes"), held_in_legacy(held)))
    for opcode in (b"\x82\x01", b"\x83\x01\x01", b"\x84\x01\0\0\0", b"\x97", b"\x98"):
        yield from in_all(f"extension-{opcode[0]:x}", opcode)
    yield "result-called.pkl", pickled(call(call(name("collections", "OrderedDict")), shell))
    yield "string-called.pkl", pickled(call(shell, shell))
    yield "escape.pkl", pickled(call(stacked("a\n\x1b[2Jb", "c\u202e\nd" * 1000)))
    typed = name("torch._tensor", "_rebuild_from_type_v2")
    yield "type-v2.pkl", pickled(call(typed, name("torch.hub", "load"), b"N", b"(" + shell + b"t", b"N"))


def held_in_legacy(data: bytes) -> bytes:
    """Bytes of a legacy file that itself asks for the reading of bytes."""
    inner = legacy(call(name("torch.storage", "_load_from_bytes"), data), [], ())
    return b"B" + struct.pack("<I", len(inner)) + inner


def changes(marker: Path) -> Iterator[tuple[str, bytes]]:
    """Attempts to change objects that are not the file's own."""
    state = b"}" + text("nbytes") + number(TEN_GB) + b"s"
    slots = b"(N" + state + b"t"
    view = tensor(storage(4), b"(K\x04t", b"(K\x01t")
    for what, thing in {
        "function": name("torch._utils", "_rebuild_tensor_v2"), "dtype": name("torch", "float32"),
        "builder": name("collections", "OrderedDict"), "class": name("argparse", "Namespace"),
        "storage": storage(4), "tensor": view, "text": text("x"), "tuple": b")", "number": b"K\1",
    }.items():  # fmt: skip
        yield f"build-{what}.zip.pt", zipped(thing + state + b"b")
        yield f"build-slots-{what}.zip.pt", zipped(thing + slots + b"b")
    four = b"(" + storage(4) + b"K\0(" + number(TEN_GB) + b"t(K\1tt"
    yield "build-set.zip.pt", zipped(view + four + b"b")
    for what in ("0", "(K\1t", "N"):
        yield f"persistent-{what[0]}.zip.pt", zipped(what.replace("0", "K\0").encode() + b"Q")
        yield f"persistent-{what[0]}.legacy.pt", legacy(what.replace("0", "K\0").encode() + b"Q")
    yield "persistent-text.zip.pt", zipped(b"Pstorage\n")
    yield "persistent.pkl", pickled(storage(4))
    yield "persistent-class.zip.pt", zipped(storage(4, kind=name("os", "ComplexStorage")))
    yield "persistent-third.zip.pt", zipped(storage(4, kind=name("evil", "Storage")))
    yield "persistent-view.legacy.pt", legacy(storage(4)[:-2] + b"(K\1K\1K\1ttQ")


MAKERS: tuple[Callable[[Path], Iterator[tuple[str, bytes]]], ...] = (
    code,
    changes,
    claims,
    archives,
    safetensors,
    bombs,
)


def write(folder: Path, marker: Path) -> list[str]:
    """Write every hostile file; returns their names."""
    names = []
    for maker in MAKERS:
        for what, data in maker(marker):
            assert what not in names, what
            (folder / what).write_bytes(data)
            names.append(what)
    return names


def harmless(folder: Path) -> list[str]:
    """Files that look odd and can be read without harm."""
    weights = tensor(storage(4), b"(K\4t", b"(K\1t")
    own = call(name("collections", "OrderedDict")) + text("a") + weights + b"s"
    files = {
        "own-attributes.zip.pt": zipped(own + b"}" + text("items") + name("a", "b") + b"sb"),
        "memo-index.pkl": pickled(b"}r" + b"\xff\xff\xff\x7f"),
        "named.pkl": pickled(b"}" + text("optimizer") + name("torch.hub", "load") + b"s"),
        "new.pkl": pickled(name("numpy", "memmap") + b"(" + text("x") + b"t\x81"),
        "deep-tuples.pkl": pickled(b")" + b"\x85" * 150),
        "empty.pkl": pickled(b"}"),
        "wide.pkl": pickled(b"}" + text("a") + text("\u00ff" * 9_000_000 + "\U0001f600") + b"s"),
        "misaligned.zip.pt": zipped(
            storage(1_000_000, plain("00")) + b"q\1" + name("torch._utils", "_rebuild_tensor_v2") + b"q\2("
            + (b"h\2(h\1K\0(" + number(1_000_000) + b"t(K\1t\x89NtR") * 30 + b"t",
            {"data/00": b"\0" * 4_000_000},
        ),
    }  # fmt: skip
    for what, data in files.items():
        (folder / what).write_bytes(data)
    return list(files)


def good(folder: Path) -> list[str]:
    """Small files of every container, for warming up and for damaging."""
    state = {"a": torch.arange(12.0).reshape(3, 4), "b": torch.ones(2, dtype=torch.float16), "n": [1, 2.5, "x"]}
    torch.save(state, folder / "good.zip.pt")
    torch.save(state, folder / "good.legacy.pt", _use_new_zipfile_serialization=False)
    with open(folder / "good.pkl", "wb") as file:
        pickle.dump({"a": torch.arange(3.0), "b": torch.arange(3).numpy(), "c": (1, {2}, b"x")}, file)
    from safetensors.torch import save_file

    save_file({"a": torch.arange(3.0)}, folder / "good.safetensors")
    return ["good.zip.pt", "good.legacy.pt", "good.pkl", "good.safetensors"]
