"""Reads every file that is named and reports, as JSON lines, what came of it and whether anything else happened.

Run in a process of its own: ``watched_reader.py FOLDER GOOD...`` with a JSON list of file names on stdin. The good
files are read first, so that what is imported lazily is there; from then on an audit hook notes whatever a reader has
no business with.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import resource
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy
import torch

import latentedit.checkpoints.builders
import latentedit.checkpoints.checkpoint
import latentedit.checkpoints.torch_files
import latentedit.checkpoints.unpickling
import latentedit.checkpoints.zip_files
from latentedit.errors import LatentEditError

FORBIDDEN = (
    "os.", "subprocess.", "exec", "compile", "import", "socket.", "ctypes.", "shutil.", "tempfile.", "marshal.",
    "pickle.", "code.", "webbrowser.", "urllib.", "builtins.input", "sys.addaudithook", "fcntl.", "pty.", "signal.",
)  # fmt: skip
ALLOWED = ("os.listdir", "os.scandir", "os.fwalk")
WATCHED = (
    latentedit.checkpoints.checkpoint, latentedit.checkpoints.builders, latentedit.checkpoints.torch_files,
    latentedit.checkpoints.unpickling, latentedit.checkpoints.zip_files,
    collections.OrderedDict, torch.Tensor, torch._utils, torch.storage, numpy.ndarray, numpy.dtype,
)  # fmt: skip
noted: list[str] = []
watching = False


def hook(event: str, args: tuple[Any, ...]) -> None:
    """Note what is forbidden, and stop it."""
    if not watching:
        return
    writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or (event.startswith(FORBIDDEN) and event not in ALLOWED):
        noted.append(f"{event} {args!r}"[:200])
        raise RuntimeError(f"forbidden: {event}")


def fingerprint() -> dict[str, int]:
    """Identities of everything that a file might have replaced in our modules and their classes."""
    found = {}
    for thing in WATCHED:
        for name, value in vars(thing).items():
            found[f"{thing}.{name}"] = id(value)
            if isinstance(value, type) and value.__module__.startswith("latentedit"):
                found |= {f"{thing}.{name}.{key}": id(member) for key, member in vars(value).items()}
            if isinstance(value, types.FunctionType):
                found[f"{thing}.{name}()"] = hash((id(value.__code__), repr(value.__dict__), id(value.__defaults__)))
    return found


def peak() -> int:
    """Most memory that was held since :func:`forget_peak`, in bytes (``ru_maxrss`` starts with the parent's)."""
    try:
        return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError):  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak() -> None:
    """Let the peak be what is held now."""
    with contextlib.suppress(OSError):  # elsewhere than on Linux it is the peak since the start
        Path("/proc/self/clear_refs").write_text("5")


def read(path: Path) -> dict[str, Any]:
    """One file: read, and its tensors listed."""
    start = time.perf_counter()
    try:
        tensors = latentedit.checkpoints.checkpoint.read_checkpoint(path).state()
        outcome, message = "read", ", ".join(list(tensors)[:5])
        for tensor in tensors.values():
            tensor.flatten()[-1:].double().sum()
    except LatentEditError as error:
        outcome, message = type(error).__name__, str(error)
    except Exception as error:
        outcome, message = f"leaked {type(error).__name__}", str(error)[:500]
    return {"file": path.name, "outcome": outcome, "message": message, "seconds": time.perf_counter() - start}


def main() -> None:
    """Read them all."""
    global watching
    folder = Path(sys.argv[1])
    for name in sys.argv[2:]:
        read(folder / name)
    before, baseline = fingerprint(), peak()
    sys.addaudithook(hook)
    for name in json.loads(sys.stdin.read()):
        forget_peak()
        watching = True
        report = read(folder / name)
        watching = False
        report |= {"noted": list(noted), "grown": peak() - baseline, "size": (folder / name).stat().st_size}
        print(json.dumps(report), flush=True)
        noted.clear()
    after = fingerprint()
    changed = sorted(key for key in before | after if before.get(key) != after.get(key))
    print(json.dumps({"changed": changed, "watched": len(before)}))


if __name__ == "__main__":
    main()
