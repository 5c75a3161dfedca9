"""``deepdanbooru:DIR``: a project of DeepDanbooru's, or ``deepdanbooru:FILE.pt``: a file of its PyTorch port.

A project is a folder as the package makes it: ``project.json``, ``tags.txt`` (a tag a line, in the order of the
network's outputs) and ``model-NAME.keras``, else ``model-NAME.h5``, where project.json says NAME. It is run by the
package itself on TensorFlow, or, with ``backend=torch`` and where TensorFlow is not installed, by this program's own
reader and network; their scores differ by some 1e-6, and their ids are equal.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.files import read_text, visible_files
from latentedit.lookalikes import named
from latentedit.registry import check_options
from latentedit.taggers.base import PictureTagger
from latentedit.taggers.deepdanbooru_tensorflow import TensorFlowTagger, missing
from latentedit.taggers.deepdanbooru_weights import Weights, read_keras_weights, read_port_weights
from latentedit.taggers.networks.deepdanbooru import ResidualNetwork
from latentedit.taggers.resizing import area_resize, centre, fitted_size

BACKENDS = ("tensorflow", "torch")
PORT_SIZE = 512  # pixels a side: what the published file of the port was trained with
_SUFFIXES = (".keras", ".h5", ".pt")


class TorchTagger(PictureTagger):
    """A network of DeepDanbooru's in torch.

    Args:
        network: on its device, in its precision.
        weights: that it was made of, for the size of pictures.
        tags: in the order of the outputs.
        id: of the tagger.
    """

    drops_alpha = True

    def __init__(self, network: ResidualNetwork, weights: Weights, tags: tuple[str, ...], id: str) -> None:
        self.id, self.tags = id, tags
        self.network = network
        self.device = network.head.device
        self._height, self._width = weights.height, weights.width
        self.settings = {
            "backend": "torch",
            "size": f"{self._width} x {self._height}",
            "resize": "area, edge padding",
        }

    @torch.inference_mode()
    def prepare(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) uint8 to (n, 3, height, width) in [0, 1], on the network's device."""
        size = (self._height, self._width)
        fitted = fitted_size(pictures.shape[2], pictures.shape[3], *size)
        weight = self.network.head
        resized = centre(area_resize(pictures.to(weight.device), *fitted), *size) / 255
        return resized.to(weight.dtype)

    @torch.inference_mode()
    def predict(self, prepared: Tensor) -> Tensor:
        """Pictures (n, 3, height, width) in [0, 1] to scores (n, tags) float32."""
        return self.network(prepared).float().sigmoid()


def load(argument: str, options: dict[str, str], *, device: torch.device, dtype: torch.dtype) -> PictureTagger:
    """The tagger of a project folder, or of a file of the PyTorch port.

    Args:
        argument: the folder or file.
        options: ``backend``, ``tensorflow`` or ``torch``; left out, TensorFlow where it and the package are installed.
        device: where it runs.
        dtype: of the weights in torch; TensorFlow always has float32.

    Raises:
        DamagedFileError: something is missing, damaged or not of DeepDanbooru's kind.
        UnsafeFileError: the model carries code.
        LatentEditError: an unknown option, missing packages, tags that do not fit.
    """
    check_options("deepdanbooru", options, {"backend": " or ".join(BACKENDS)})
    project = _find(argument)
    backend = _backend(options.get("backend"), project.model)
    if project.model.suffix == ".pt":
        weights, tags = read_port_weights(project.model, project.height, project.width)
        tags = _check_tags(project.model, list(tags))
    else:
        tags = _read_tags(project.folder / "tags.txt")
        weights = read_keras_weights(project.model)
    weights.check(tags)
    identity = weights.id(tags)
    if backend == "tensorflow":
        del weights  # before there is a second copy
        return TensorFlowTagger(project.folder, tags, identity, device=device)
    network = weights.network(device=device, dtype=dtype)
    return TorchTagger(network, weights, tags, identity)


def _backend(asked: str | None, model: Path) -> str:
    if asked not in (None, *BACKENDS):
        raise LatentEditError(f"backend is {asked!r}; it must be {' or '.join(BACKENDS)}")
    if model.suffix == ".pt":
        if asked == "tensorflow":
            raise LatentEditError(f"{model} is of the PyTorch port; TensorFlow cannot read it, use backend=torch")
        return "torch"
    absent = missing()
    if asked == "tensorflow" and absent:
        raise LatentEditError(
            f"backend=tensorflow needs {' and '.join(absent)}; pip install 'latentedit[deepdanbooru]', or use "
            "backend=torch"
        )
    return asked or ("torch" if absent else "tensorflow")


@dataclass(frozen=True)
class _Project:
    """Where things are.

    Attributes:
        folder: of the project.
        model: file of the weights.
        height, width: of pictures, for files that do not tell.
    """

    folder: Path
    model: Path
    height: int = PORT_SIZE
    width: int = PORT_SIZE


def _find(argument: str) -> _Project:
    if not argument:
        raise LatentEditError("deepdanbooru needs a project folder or a .pt file, as in deepdanbooru:FOLDER")
    path = Path(argument)
    if path.is_file():
        if path.suffix != ".pt":
            raise DamagedFileError(
                f"{path} is a file; name the project folder that holds it, or a .pt file of the port"
            )
        return _Project(path.parent, path)
    if not path.is_dir():
        raise DamagedFileError(f"no project at {path}; deepdanbooru takes a folder with project.json, or a .pt file")
    if not (path / "project.json").is_file():
        ports = visible_files(path, "model-*.pt")
        if len(ports) == 1 and not [*visible_files(path, "model-*.keras"), *visible_files(path, "model-*.h5")]:
            return _Project(path, ports[0])
        raise DamagedFileError(
            f"{path} is no project of DeepDanbooru's: it has no project.json; name a folder that has it, or a .pt file"
        )
    return _described(path)


def _described(folder: Path) -> _Project:
    """What a folder's project.json says."""
    path = folder / "project.json"
    with named(path):
        return _read_project(folder, path)


def _read_project(folder: Path, path: Path) -> _Project:
    try:
        project = json.loads(read_text(path))
        kind, height, width = project["model"], project.get("image_height"), project.get("image_width")
        if not isinstance(kind, str):
            raise TypeError("the name of its model is no text")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{path}: it must be JSON with the name of a model, such as resnet_custom_v3") from error
    found = [model for suffix in _SUFFIXES if (model := folder / f"model-{kind}{suffix}").is_file()]
    if not found:
        names = ", ".join(f"model-{kind}{suffix}" for suffix in _SUFFIXES)
        raise DamagedFileError(f"{folder} has no model; it must have one of {names}, as project.json names it")
    if found[0].suffix != ".pt":
        return _Project(folder, found[0])
    if not all(isinstance(side, int) and 0 < side < 1 << 15 for side in (height, width)):
        raise DamagedFileError(f"{path}: image_width and image_height must be numbers of pixels, such as {PORT_SIZE}")
    return _Project(folder, found[0], height, width)


def _read_tags(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        raise DamagedFileError(f"{path} is missing; it lists the tags, one a line, in the network's order")
    with named(path):
        return _check_tags(path, [tag for line in read_text(path).split("\n") if (tag := line.strip())])


def _check_tags(path: Path, tags: list[str]) -> tuple[str, ...]:
    if not tags:
        raise DamagedFileError(f"{path}: it lists no tags; there must be one for each output of the network")
    twice = [tag for tag, count in Counter(tags).items() if count > 1]
    if twice:
        raise DamagedFileError(f"{path}: the tag {twice[0]!r} is there twice; each must be there once")
    return tuple(tags)
