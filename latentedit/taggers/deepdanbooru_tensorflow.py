"""DeepDanbooru as its own package runs it: TensorFlow's network, TensorFlow's and the package's preparation."""

from __future__ import annotations

import importlib
import os
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.taggers.base import PictureTagger
from latentedit.taggers.resizing import fitted_size

PACKAGES = ("tensorflow", "deepdanbooru")


def missing() -> list[str]:
    """Which of the packages are not installed; none is imported to find out."""
    return [name for name in PACKAGES if find_spec(name) is None]


class TensorFlowTagger(PictureTagger):
    """A model that the deepdanbooru package loaded from its project.

    Always in float32. On the processor, unless a GPU is asked for and TensorFlow sees it.
    """

    drops_alpha = True

    def __init__(self, folder: Path, tags: tuple[str, ...], id: str, *, device: torch.device) -> None:
        self.id, self.tags = id, tags
        self._tensorflow, self._package = _import(device)
        self._device = _place(self._tensorflow, device)
        self.device = torch.device("cpu") if self._device.startswith("/CPU") else device
        try:
            with self._tensorflow.device(self._device), _deep_recursion():
                self._model = self._package.project.load_model_from_project(str(folder), compile_model=False)
        except Exception as error:  # Keras has no class for them
            reason = " ".join(str(error).split())[:200]
            raise DamagedFileError(
                f"{folder}: Keras cannot load its model ({type(error).__name__}: {reason}); try backend=torch"
            ) from error
        _, self._height, self._width, _ = self._model.input_shape
        self.settings = {
            "backend": "tensorflow",
            "size": f"{self._width} x {self._height}",
            "resize": "area, edge padding",
        }

    def prepare(self, pictures: Tensor) -> np.ndarray:
        """Pictures (n, 3, H, W) uint8 to (n, height, width, 3) float32 in [0, 1]."""
        size = (self._height, self._width)
        fitted = fitted_size(pictures.shape[2], pictures.shape[3], *size)
        with self._tensorflow.device(self._device):
            resized = self._tensorflow.image.resize(
                pictures.permute(0, 2, 3, 1).cpu().numpy(), size=size, method="area", preserve_aspect_ratio=True
            ).numpy()  # (n, h, w, 3), 0 ... 255
        if fitted != size:
            pad = self._package.image.transform_and_pad_image
            resized = np.stack([pad(picture, self._width, self._height) for picture in resized])
        return np.asarray(resized / 255.0, np.float32)

    def predict(self, prepared: Any) -> Tensor:
        """What :meth:`prepare` gave to scores (n, tags) float32 in [0, 1]."""
        with self._tensorflow.device(self._device):
            scores = self._model.predict_on_batch(np.asarray(prepared))
        return torch.from_numpy(np.array(scores, np.float32))


def _import(device: torch.device) -> tuple[Any, Any]:
    """TensorFlow and deepdanbooru."""
    first = "tensorflow" not in sys.modules
    try:
        with _quiet():
            tensorflow = importlib.import_module("tensorflow")
            if first:
                with suppress(RuntimeError):  # it is in use already
                    tensorflow.config.threading.set_intra_op_parallelism_threads(torch.get_num_threads())
                    if device.type != "cuda":
                        tensorflow.config.set_visible_devices([], "GPU")
            with _stand_in("tensorflow_io"):
                return tensorflow, importlib.import_module("deepdanbooru")
    except ImportError as error:
        reason = " ".join(str(error).split())[:200]
        raise LatentEditError(
            f"deepdanbooru with backend=tensorflow cannot import its packages ({reason}); install them with "
            "pip install 'latentedit[deepdanbooru]', or use backend=torch"
        ) from error


@contextmanager
def _deep_recursion() -> Iterator[None]:
    """Keras walks a network layer by layer in depth, some 900 calls for the package's; the usual limit is 1,000."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 10_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _place(tensorflow: Any, device: torch.device) -> str:
    seen = len(tensorflow.config.get_visible_devices("GPU")) if device.type == "cuda" else 0
    index = device.index or 0
    return f"/GPU:{index}" if index < seen else "/CPU:0"


@contextmanager
def _quiet() -> Iterator[None]:
    """TensorFlow's notes about itself are left out; environment and streams are afterwards what they were.

    Some it writes to the process's error stream whatever the environment says; what goes wrong is raised all the same.
    """
    name = "TF_CPP_MIN_LOG_LEVEL"
    before = os.environ.get(name)
    os.environ.setdefault(name, "3")
    try:
        with warnings.catch_warnings(), _silent(2):
            warnings.simplefilter("ignore")
            yield
    finally:
        if before is None:
            os.environ.pop(name, None)


@contextmanager
def _silent(descriptor: int) -> Iterator[None]:
    """What is written to a file descriptor is dropped."""
    try:
        kept = os.dup(descriptor)
    except OSError:  # it is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, descriptor)
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _stand_in(name: str) -> Iterator[None]:
    """An empty module of that name for as long as it takes, if there is none to import.

    The deepdanbooru package imports ``tensorflow_io``, and uses it for WebP files alone, which are not read here.
    """
    before = {name: sys.modules[name]} if name in sys.modules else {}
    try:
        importlib.import_module(name)
    except Exception:  # it fails in many ways with versions of TensorFlow that it was not made for
        sys.modules[name] = types.ModuleType(name)
        try:
            yield
        finally:
            del sys.modules[name]
            sys.modules.update(before)
    else:
        yield
