"""Models in ONNX that take pictures: what they say of their input, and running them in onnxruntime."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentedit.errors import DamagedFileError, LatentEditError, UnsafeFileError
from latentedit.lookalikes import lookalike


@dataclass(frozen=True)
class Network:
    """A session and what goes into it.

    Attributes:
        path: of the model, for messages.
        session: of onnxruntime, with one input.
        size: pixels a side.
        channels_last: input is (n, size, size, 3) rather than (n, 3, size, size).
        batch: pictures that a run takes; None for any number.
        device: where it runs.
        output: name of the output that is taken.
    """

    path: Path
    session: Any
    size: int
    channels_last: bool
    batch: int | None
    device: torch.device
    output: str

    @classmethod
    def open(cls, path: Path, device: torch.device) -> Network:
        """The model at a path on a device.

        Raises:
            DamagedFileError: onnxruntime cannot read it, or its input is not pictures of one size.
            LatentEditError: onnxruntime is missing, or the one that is installed cannot use the device.
        """
        session = _session(path, device)
        inputs = session.get_inputs()
        shapes = ", ".join(f"{i.type} {i.shape}" for i in inputs)
        shape = inputs[0].shape if len(inputs) == 1 and inputs[0].type == "tensor(float)" else []
        if len(shape) == 4 and 3 in (shape[3], shape[1]):
            channels_last = shape[3] == 3
            height, width = shape[1:3] if channels_last else shape[2:]
            if isinstance(height, int) and height == width and height > 1:
                batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
                return cls(path, session, height, channels_last, batch, device, session.get_outputs()[0].name)
        raise DamagedFileError(
            f"{path} takes {shapes or 'nothing'}; this reader needs one input tensor(float) [n, size, size, 3] or "
            "[n, 3, size, size] with a fixed size"
        )

    def outputs_of(self, tags: int, table: str) -> list[str]:
        """Names of the outputs that may be one float32 a tag, by what the model says of them.

        Args:
            tags: that a table lists.
            table: its name, for messages.

        Raises:
            DamagedFileError: there is none.
        """
        outputs = self.session.get_outputs()
        vectors = [one for one in outputs if one.type == "tensor(float)" and len(one.shape) == 2]
        fits = [one.name for one in vectors if not isinstance(one.shape[1], int) or one.shape[1] == tags]
        if fits:
            return fits
        if not vectors:
            raise DamagedFileError(f"{self.path} gives {self.told()}; one must be tensor(float) [n, tags]")
        held = f"{vectors[0].shape[1]} outputs" if len(outputs) == 1 else f"outputs {self.told()}"
        raise DamagedFileError(
            f"{self.path} has {held} and {table} lists {tags} tags; the two files do not belong together"
        )

    def told(self) -> str:
        """What the model says of its outputs."""
        return ", ".join(f"{one.name} {one.type} {one.shape}" for one in self.session.get_outputs())

    def giving(self, output: str) -> Network:
        """The same network, of which another output is taken.

        Raises:
            LatentEditError: it has none of that name.
        """
        if output not in [one.name for one in self.session.get_outputs()]:
            raise LatentEditError(f"{self.path} has no output {output!r}; it has {self.told()}")
        return replace(self, output=output)

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Inputs (n, ...) to the output (n, ...) float32, in pieces where the model's batch is fixed.

        Args:
            inputs: one row or more.

        Raises:
            LatentEditError: the model cannot be run on this.
        """
        step = self.batch or len(inputs)
        found = []
        for start in range(0, len(inputs), step):
            piece = inputs[start : start + step]
            rows = len(piece)
            if self.batch is not None and rows < self.batch:
                piece = np.concatenate([piece, np.zeros_like(piece, shape=(self.batch - rows, *piece.shape[1:]))])
            feed = {self.session.get_inputs()[0].name: piece}
            run = partial(self.session.run, [self.output], feed)
            (out,) = _plainly(run, f"{self.path} fails on pictures")
            found.append(out[:rows] if out.shape[:1] == piece.shape[:1] else out)
        return np.concatenate(found)


def _session(path: Path, device: torch.device) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise LatentEditError(f"onnx taggers need onnxruntime ({reason}); pip install 'latentedit[onnx]'") from error
    onnxruntime.disable_telemetry_events()
    providers: list[Any] = ["CPUExecutionProvider"]
    on_cuda = device.type == "cuda"
    if on_cuda:
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise LatentEditError(
                f"this onnxruntime cannot use {device}; install onnxruntime-gpu in its place, or run "
                "on the processor (--device cpu)"
            )
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # what matters is raised
    settings.intra_op_num_threads = torch.get_num_threads()
    # Threads that spin while they wait would take the processor from the generator, which runs in between.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The runtime's own fallback to the processor prints, and would hide that a device is not used.
    session = _plainly(
        lambda: onnxruntime.InferenceSession(str(path), settings, providers=providers, enable_fallback=0),
        f"{path} is no model that onnxruntime {onnxruntime.__version__} can read",
        _instead(path),
    )
    if on_cuda and session.get_providers()[0] != "CUDAExecutionProvider":
        raise LatentEditError(
            f"onnxruntime could not start on {device}; install its CUDA libraries, or run on the processor "
            "(--device cpu)"
        )
    return session


def _plainly(call: Callable[[], Any], what: str, hint: str = "") -> Any:
    """What a call into onnxruntime gives; what it raises, classes of its own without a common one, as one line."""
    try:
        return call()
    except MemoryError:
        raise
    except Exception as error:
        reason = re.sub(r"^\[ONNXRuntimeError\] : \d+ : ", "", " ".join(str(error).split()))
        raise DamagedFileError(f"{what}: {hint or reason[:300]}") from error


def _instead(path: Path) -> str:
    """What a file is that is no model."""
    found = lookalike(path)
    return "" if found is None else f"it is {found}"


def outside_weights(path: Path) -> list[Path]:
    """The files that a model keeps tensors in beside its own, in order of name.

    In its protocol buffer they are entries of field ``external_data``: key "location", value the relative path.

    Raises:
        DamagedFileError: one is missing.
        UnsafeFileError: one is not below the model's folder.
    """
    if not path.stat().st_size:
        raise DamagedFileError(f"{path} is empty; download it again")
    entry = re.compile(rb"\x0a\x08location\x12([\x80-\xff]?[\x00-\x7f])")  # then a length as a varint
    found = set()
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for match in entry.finditer(mapped):
            length = sum((byte & 127) << (7 * i) for i, byte in enumerate(match[1]))
            found.add(mapped[match.end() : match.end() + length].decode("utf-8", "replace").replace("\0", "?"))
    for name in sorted(found):
        if os.path.isabs(name) or os.path.normpath(name).startswith(".."):
            raise UnsafeFileError(f"{path} wants weights from {name!r}, outside its folder; it is not to be trusted")
        if not (path.parent / name).is_file():
            raise DamagedFileError(f"{path} keeps weights in {name!r}, which is not there; put it beside the model")
    return [path.parent / name for name in sorted(found)]
