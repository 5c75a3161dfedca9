"""Models that Keras saved, read with h5py alone: what their layers are, and their weights, never any code.

Three layouts: ``.h5`` of Keras 2 and of Keras 3 (weights in ``/model_weights/LAYER/.../NAME``, with ``:0`` after the
name in Keras 2), and ``.keras``, a zip archive of ``config.json`` and ``model.weights.h5`` (weights in
``/layers/KEY/vars/NUMBER``).
"""

from __future__ import annotations

import io
import json
import mmap
import re
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentedit.checkpoints.zip_files import members
from latentedit.errors import DamagedFileError, LatentEditError, UnsafeFileError

WEIGHTS = {  # in the order of .keras
    "Conv2D": ("kernel", "bias"),
    "Dense": ("kernel", "bias"),
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
_MODELS = ("Functional", "Model")
_PARTS = (  # other classes that a harmless description names
    "__keras_tensor__", "DTypePolicy", "Policy", "HeNormal", "HeUniform", "GlorotNormal", "GlorotUniform",
    "VarianceScaling", "Zeros", "Ones",
)  # fmt: skip
_MODULES = re.compile(r"(tensorflow\.)?(python\.)?keras(\.[a-z_0-9]+)*|builtins")
_CODE = ("Lambda", "TFOpLambda", "SlicingOpLambda", "function", "__lambda__")
_MOST = 50_000_000  # bytes of a description; the deepest published one has about 1 MB


@dataclass
class Layer:
    """One layer.

    Attributes:
        kind: its class, such as ``Conv2D``.
        name: in the model.
        config: what it was made with.
        weights: by Keras's name, in the order of :data:`WEIGHTS`, float32; a kernel is (height, width, in, out).
    """

    kind: str
    name: str
    config: Mapping[str, Any]
    weights: dict[str, Tensor]


def read_keras(path: str | Path, kinds: Collection[str]) -> list[Layer]:
    """The layers of a saved model; those of a class in the order in which they were made.

    That order is the rank of the number at the end of their names: numbers start anywhere, because they count all
    layers that a process made.

    Args:
        path: ``.keras`` or ``.h5``.
        kinds: classes of layers that it may have.

    Raises:
        DamagedFileError: no such file, truncated, something else, or it has layers of another kind.
        UnsafeFileError: it has layers that carry code, or refers to other files.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            if file.read(4) == b"PK\x03\x04":
                layers = _read_archive(file, kinds)
            else:
                file.seek(0)
                layers = _read_h5(file, kinds)
    except UnsafeFileError as error:
        raise UnsafeFileError(f"{path}: refused: {error}") from error
    except LatentEditError as error:
        raise DamagedFileError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise DamagedFileError(f"{path}: there is no such file") from error
    except (PermissionError, IsADirectoryError) as error:
        raise DamagedFileError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # a damaged file can go wrong with any exception there is
        reason = " ".join(str(error).split())[:200]
        raise DamagedFileError(f"{path}: damaged or truncated ({reason}); download it again") from error
    for layer in layers:
        layer.weights = {name: layer.weights[name] for name in WEIGHTS.get(layer.kind, ()) if name in layer.weights}
    return sorted(layers, key=lambda layer: (layer.kind, _number(layer.name)))


def _number(name: str) -> int:
    match = re.search(r"_(\d+)$", name)
    return int(match[1]) if match else 0


# Descriptions


def _describe(text: str | bytes, kinds: Collection[str]) -> list[Layer]:
    """Layers, still without weights, of a model's description in JSON."""
    if len(text) > _MOST:
        raise DamagedFileError(f"its description has {len(text)} bytes; no model of DeepDanbooru's has so many")
    try:
        model = json.loads(text)
        described = model["config"]["layers"]
        is_model = model["class_name"] in _MODELS and isinstance(described, list)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError("it does not describe a model of Keras's functional kind") from error
    if not is_model:
        raise DamagedFileError(f"it holds a model of class {model['class_name']!r}; it must be one of {_MODELS}")
    for layer in described:
        _check_layer(layer, kinds)
    parts = {**{key: part for key, part in model.items() if key != "compile_config"}, "class_name": None}
    _check_parts({**parts, "config": {**model["config"], "layers": None}})
    return [Layer(entry["class_name"], str(entry["config"]["name"]), entry["config"], {}) for entry in described]


def _check_layer(layer: Any, kinds: Collection[str]) -> None:
    kind = layer.get("class_name")
    if kind not in kinds:
        if kind in _CODE or not _known_module(layer):
            raise UnsafeFileError(f"it has a layer of class {str(kind)[:60]!r}, which can carry code")
        raise DamagedFileError(
            f"it has a layer of class {str(kind)[:60]!r}, which no network of DeepDanbooru's has; "
            f"those are residual networks of {', '.join(sorted(kinds))}"
        )
    _check_parts({**layer, "class_name": None})


def _check_parts(tree: Any) -> None:
    """Refuse a description that names a class, module or function beyond what layers of pictures need.

    Keras looks such names up and calls what it finds.
    """
    stack = [tree]
    while stack:
        part = stack.pop()
        if isinstance(part, list):
            stack += part
        if not isinstance(part, dict):
            continue
        kind = part.get("class_name")
        if kind is not None and kind not in _PARTS:
            raise UnsafeFileError(f"it names the class {str(kind)[:60]!r}, which can carry code")
        if not _known_module(part) or part.get("compile_config") is not None:
            raise UnsafeFileError(f"it names the module {str(part.get('module'))[:60]!r}, which can carry code")
        for key, value in part.items():
            if key == "activation" and value not in (None, "linear", "relu", "sigmoid"):
                raise UnsafeFileError(f"its activation {str(value)[:60]!r} is not linear, relu or sigmoid")
            if key.endswith(("regularizer", "constraint")) and value is not None:
                raise UnsafeFileError(f"its {key} {str(value)[:60]!r} can carry code")
        stack += part.values()


def _known_module(part: Mapping[str, Any]) -> bool:
    module, registered = part.get("module"), part.get("registered_name")
    named = module is None or (isinstance(module, str) and _MODULES.fullmatch(module) is not None)
    return named and registered in (None, *_MODELS, part.get("class_name"))


# Weights


def _read_h5(file: Any, kinds: Collection[str]) -> list[Layer]:
    with _hdf5(file) as held:
        if "model_config" not in held.attrs:
            what = "weights without a model" if "layer_names" in held.attrs else "no model of Keras"
            raise DamagedFileError(f"it holds {what}; save the whole model with model.save")
        layers = _describe(held.attrs["model_config"], kinds)
        found = _arrays(held, "model_weights")
    by_name = {layer.name: layer for layer in layers if layer.kind in WEIGHTS}
    for place, value in found.items():
        name, _, rest = place.partition("/")
        weight = rest.rpartition("/")[2].partition(":")[0]
        if name not in by_name or weight not in WEIGHTS[by_name[name].kind]:
            raise DamagedFileError(f"it has weights {place[:80]!r}, and no layer for them")
        by_name[name].weights[weight] = value
    return layers


def _read_archive(file: Any, kinds: Collection[str]) -> list[Layer]:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        held = members(mapped)
        places = {}
        for name in ("config.json", "model.weights.h5"):
            if name not in held:
                raise DamagedFileError(f"its zip archive has no {name}, so Keras did not write it")
            if not held[name].stored:
                raise DamagedFileError(f"its member {name} is compressed or encrypted; save it with Keras again")
            name_length, extra_length = struct.unpack("<HH", mapped[held[name].offset + 26 : held[name].offset + 30])
            start = held[name].offset + 30 + int(name_length) + int(extra_length)
            if start + held[name].size > len(mapped):
                raise DamagedFileError(f"its zip archive is truncated in {name}")
            places[name] = (start, held[name].size)
        start, size = places["config.json"]
        layers = _describe(mapped[start : start + min(size, _MOST + 1)], kinds)
    with _hdf5(_Part(file, *places["model.weights.h5"])) as weights:
        found = _arrays(weights, "layers")  # there may be an optimizer's beside them
    by_key = _keys(layers)
    for place, value in found.items():
        key, _, rest = place.partition("/")
        match = re.fullmatch(r"vars/(\d)", rest)
        names = WEIGHTS.get(by_key[key].kind, ()) if key in by_key else ()
        if match is None or int(match[1]) >= len(names):
            raise DamagedFileError(f"it has weights {place[:80]!r}, and no layer for them")
        by_key[key].weights[names[int(match[1])]] = value
    return layers


def _keys(layers: list[Layer]) -> dict[str, Layer]:
    """Layers by their key in ``.keras``: the class in small letters, with a count per class in the model's order."""
    keys: dict[str, Layer] = {}
    counts: dict[str, int] = {}
    for layer in layers:
        base = re.sub(r"(?<=[a-z0-9])([A-Z][a-z])", r"_\1", layer.kind).lower()
        number = counts[base] = counts.get(base, -1) + 1
        keys[f"{base}_{number}" if number else base] = layer
    return keys


def _hdf5(file: Any) -> Any:
    import h5py

    try:
        return h5py.File(file, "r")
    except OSError as error:
        if "signature not found" in str(error):
            raise DamagedFileError("it is no HDF5 file and no zip archive, so Keras did not write it") from error
        raise


def _arrays(held: Any, group: str) -> dict[str, Tensor]:
    """Arrays under a group by path, as float32; links to elsewhere are not followed."""
    import h5py

    if not isinstance(held.get(group, getlink=True), h5py.HardLink):
        raise DamagedFileError(f"it has no group {group!r}, so it is no model that Keras saved")
    found = {}

    def add(name: str, thing: Any) -> None:
        if not isinstance(thing, h5py.Dataset):
            return
        if thing.external or thing.is_virtual:
            raise UnsafeFileError(f"its weights {name[:80]!r} are in another file")
        if thing.dtype.kind != "f":
            raise DamagedFileError(f"its weights {name[:80]!r} are of type {thing.dtype}; they must be floating")
        if thing.id.get_storage_size() != thing.nbytes:  # also a claim of more than there is
            raise DamagedFileError(f"its weights {name[:80]!r} are compressed or not whole; save it with Keras again")
        found[name] = torch.from_numpy(np.asarray(thing[()], np.float32))

    held[group].visititems(add)  # hard links only, each thing once
    return found


class _Part(io.RawIOBase):
    """A stretch of a file, as a file to be read."""

    def __init__(self, file: Any, start: int, size: int) -> None:
        self._file, self._start, self._size, self._place = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = origin + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._place)
        view = memoryview(buffer)[: max(0, self._size - self._place)]
        read = self._file.readinto(view)
        self._place += read
        return int(read)
