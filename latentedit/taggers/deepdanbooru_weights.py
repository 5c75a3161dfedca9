"""Weights of DeepDanbooru's networks from what Keras saved or from the PyTorch port, checked to be such a network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentedit.checkpoints.checkpoint import read_checkpoint
from latentedit.checkpoints.keras_files import WEIGHTS, Layer, read_keras
from latentedit.errors import DamagedFileError, MismatchError
from latentedit.generators.base import weights_id
from latentedit.generators.networks.base import channels_last_pays
from latentedit.lookalikes import named
from latentedit.taggers.networks.deepdanbooru import POOL, Block, Kernel, ResidualNetwork, arrange, features, fold

_KINDS = (
    "InputLayer", "Conv2D", "BatchNormalization", "Activation", "MaxPooling2D", "Add",
    "GlobalAveragePooling2D", "AveragePooling2D", "Flatten", "Dense",
)  # fmt: skip
_NORMALISATION = WEIGHTS["BatchNormalization"]


@dataclass
class Weights:
    """Weights of a network as they are stored.

    Attributes:
        path: of the file.
        height, width: of the pictures that it takes, in pixels.
        convolutions: in the file's order; ``kernel`` (out, in, side, side) with, except for a last one that is the
            head, either a ``bias`` or the weights and the ``epsilon`` of the batch normalisation after it.
        dense: ``kernel`` (in, tags) and ``bias``; empty without a dense head.
        blocks: of the network.
    """

    path: Path
    height: int
    width: int
    convolutions: list[dict[str, Tensor]]
    dense: dict[str, Tensor]
    blocks: list[Block]

    @property
    def outputs(self) -> int:
        """Number of tags."""
        return len(self.dense["bias"]) if self.dense else len(self.convolutions[-1]["kernel"])

    def id(self, tags: Sequence[str]) -> str:
        """Hash over weights before folding, tags and the size of pictures."""
        tensors = {
            f"convolution.{i}.{key}": value for i, held in enumerate(self.convolutions) for key, value in held.items()
        }
        tensors |= {f"dense.{key}": value for key, value in self.dense.items()}
        tensors["size"] = torch.tensor([self.height, self.width])
        tensors["tags"] = torch.tensor(list("\n".join(tags).encode()), dtype=torch.uint8)
        return weights_id("deepdanbooru", tensors)

    def check(self, tags: Sequence[str]) -> None:
        """Check that there is a tag for each output and that all numbers are finite.

        Raises:
            MismatchError: another number of tags.
            DamagedFileError: NaN or infinity among the weights.
        """
        if len(tags) != self.outputs:
            raise MismatchError(
                f"{self.path}: the network has {self.outputs} outputs and there are {len(tags)} tags; "
                "use the list of tags that it was trained with"
            )
        for place, held in [*enumerate(self.convolutions), ("dense", self.dense)]:
            for key, value in held.items():
                if not torch.isfinite(value).all() or (key == "moving_variance" and (value < 0).any()):
                    raise DamagedFileError(
                        f"{self.path}: {key} of layer {place} holds values that are not finite or, of a variance, "
                        "negative; download it again, or train it again"
                    )

    def network(self, *, device: torch.device, dtype: torch.dtype) -> ResidualNetwork:
        """The network with batch normalisation folded in; it takes the weights away from here as it goes."""
        kernels: list[Kernel] = []
        for held in self.convolutions:
            kernel, bias = held.pop("kernel"), held.pop("bias", None)
            if "gamma" in held:
                gamma, beta, mean, variance = (held[key] for key in _NORMALISATION)
                kernel, bias = fold(kernel, gamma, beta, mean, variance, float(held["epsilon"]))
            held.clear()
            # A copy even where nothing changes: what is read may be part of the file, which may go away.
            placed = torch.empty(kernel.shape, device=device, dtype=dtype)
            kernels.append((placed.copy_(kernel), None if bias is None else bias.to(device, dtype, copy=True)))
        dense = tuple(self.dense[key].to(device, dtype, copy=True) for key in WEIGHTS["Dense"] if self.dense)
        self.dense.clear()
        network = ResidualNetwork(kernels, self.blocks, dense or None)  # type: ignore[arg-type]
        if channels_last_pays(device, dtype):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network.eval().requires_grad_(False)


# Keras


def read_keras_weights(path: Path) -> Weights:
    """Weights of a model that Keras saved.

    Raises:
        DamagedFileError: missing, damaged, or another network.
        UnsafeFileError: it carries code.
    """
    layers: dict[str, list[Layer]] = {kind: [] for kind in _KINDS}
    with named(path, "zip", "hdf5"):
        for layer in read_keras(path, _KINDS):
            layers[layer.kind].append(layer)
    try:
        return _keras_weights(path, layers)
    except DamagedFileError as error:
        raise DamagedFileError(f"{path}: {error}") from error


def _keras_weights(path: Path, layers: Mapping[str, list[Layer]]) -> Weights:
    for layer in (layer for kind, names in WEIGHTS.items() for layer in layers[kind]):
        wanted = WEIGHTS[layer.kind][: 1 if layer.kind == "Conv2D" else None]
        if set(layer.weights) != set(wanted):
            raise DamagedFileError(
                f"its layer {layer.name!r} has the weights {sorted(layer.weights)}; in DeepDanbooru's networks it is "
                f"{sorted(wanted)}"
            )
    kernels = [layer.weights["kernel"] for layer in layers["Conv2D"]]
    if any(kernel.ndim != 4 for kernel in kernels):
        raise DamagedFileError("a convolution of it has no kernel (height, width, in, out)")
    convolutions = [{"kernel": kernel.permute(3, 2, 0, 1)} for kernel in kernels]
    dense = dict(layers["Dense"][0].weights) if layers["Dense"] else {}
    blocks = arrange([held["kernel"].shape for held in convolutions], dense=bool(dense))
    _check_layers(layers, blocks)
    for held, layer in zip(convolutions, layers["BatchNormalization"], strict=False):  # the head has none
        if any(layer.weights[key].shape != (len(held["kernel"]),) for key in _NORMALISATION):
            raise DamagedFileError(f"its layer {layer.name!r} does not fit the convolution in front of it")
        held |= layer.weights
        held["epsilon"] = torch.tensor(float(layer.config["epsilon"]))
    height, width = _input_size(layers["InputLayer"][0].config)
    if dense:
        _check_dense(dense, len(convolutions[blocks[-1].main[2]]["kernel"]), features(height, width, blocks))
    return Weights(path, height, width, convolutions, dense, blocks)


def _check_layers(layers: Mapping[str, list[Layer]], blocks: Sequence[Block]) -> None:
    """Check what shapes do not tell: strides, padding, and that there is nothing beside the blocks and the head."""
    convolutions, dense = len(layers["Conv2D"]), bool(layers["Dense"])
    head = ("AveragePooling2D", "Flatten", "Dense") if dense else ("GlobalAveragePooling2D",)
    wanted = Counter({"InputLayer": 1, "MaxPooling2D": 1, "Conv2D": convolutions, "Add": len(blocks)})
    wanted += Counter(Activation=3 * len(blocks) + 2, BatchNormalization=convolutions - (not dense))
    wanted += Counter(head)
    for kind, held in layers.items():
        if len(held) != wanted[kind]:
            raise DamagedFileError(
                f"it has {len(held)} layers of class {kind!r}; with {len(blocks)} blocks, a residual network of "
                f"DeepDanbooru's has {wanted[kind]}"
            )
    strides = [2] + [1] * (convolutions - 1)
    for block in blocks:
        for place in (block.main[1], *(() if block.shortcut is None else (block.shortcut,))):
            strides[place] = block.stride
    plain = {"data_format": "channels_last"}
    same = plain | {"padding": "same"}
    single = {"dilation_rate": [1, 1], "groups": 1, "activation": "linear", "use_bias": False}
    for layer, stride in zip(layers["Conv2D"], strides, strict=True):
        _check_config(layer, same | single | {"strides": [stride, stride]})
    _check_config(layers["MaxPooling2D"][0], same | {"pool_size": [3, 3], "strides": [2, 2]})
    for layer in layers["AveragePooling2D"]:
        _check_config(layer, plain | {"pool_size": [POOL, POOL], "strides": [POOL, POOL], "padding": "valid"})
    for layer in layers["Flatten"]:
        _check_config(layer, plain)
    for layer in layers["Dense"]:
        _check_config(layer, {"activation": "linear"})
    for layer in layers["BatchNormalization"]:
        if layer.config.get("axis") not in (-1, 3, [-1], [3]) or not isinstance(layer.config.get("epsilon"), float):
            raise DamagedFileError(f"its layer {layer.name!r} does not normalise channels, as DeepDanbooru's do")
    if Counter(layer.config.get("activation") for layer in layers["Activation"])["sigmoid"] != 1:
        raise DamagedFileError("its outputs are no scores: it must end in one sigmoid, as DeepDanbooru's networks do")


def _check_config(layer: Layer, wanted: Mapping[str, Any]) -> None:
    for key, value in wanted.items():
        found = layer.config.get(key, value)  # older versions of Keras leave some out
        if found != value:
            raise DamagedFileError(
                f"{key} of its layer {layer.name!r} is {found!r}; in DeepDanbooru's networks it is {value!r}"
            )


def _input_size(config: Mapping[str, Any]) -> tuple[int, int]:
    shape = config.get("batch_shape", config.get("batch_input_shape"))
    sizes = list(shape[1:]) if isinstance(shape, list) else []
    if len(sizes) != 3 or sizes[2] != 3 or not all(isinstance(size, int) and 0 < size < 1 << 15 for size in sizes):
        raise DamagedFileError(f"its input has shape {shape}; it must be [null, HEIGHT, WIDTH, 3]")
    return sizes[0], sizes[1]


def _check_dense(dense: Mapping[str, Tensor], channels: int, size: tuple[int, int]) -> None:
    inputs = (size[0] // POOL) * (size[1] // POOL) * channels
    kernel, bias = dense["kernel"], dense["bias"]
    if not inputs or kernel.shape != (inputs, len(bias)):
        raise DamagedFileError(
            f"its dense layer has shape {tuple(kernel.shape)}, and what comes before it has {inputs} values a picture"
        )


# PyTorch port


def read_port_weights(path: Path, height: int, width: int) -> tuple[Weights, tuple[str, ...]]:
    """Weights and tags of a file of the PyTorch port: ``n_Conv_0.weight`` and so on, and a list ``tags``.

    Args:
        path: of the file.
        height, width: of pictures, which the file does not tell.

    Raises:
        DamagedFileError: missing, damaged, or another network.
        UnsafeFileError: it asks for code.
    """
    checkpoint = read_checkpoint(path)
    tree = checkpoint.tree if isinstance(checkpoint.tree, dict) else {}
    tree = {**tree, **checkpoint.state_with(["n_Conv_0.weight"])}
    places = {int(match[1]): name for name in tree if (match := re.fullmatch(r"n_Conv_(\d+)\.weight", str(name)))}
    tags = tree.get("tags")
    if not places or not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise DamagedFileError(
            f"{path}: it is no file of DeepDanbooru's PyTorch port, which has weights n_Conv_0.weight and so on and a "
            "list of texts called tags"
        )
    convolutions = [_port_convolution(path, tree, place, place == max(places)) for place in sorted(places)]
    try:
        blocks = arrange([held["kernel"].shape for held in convolutions], dense=False)
    except DamagedFileError as error:
        raise DamagedFileError(f"{path}: {error}") from error
    return Weights(path, height, width, convolutions, {}, blocks), tuple(tags)


def _port_convolution(path: Path, tree: Mapping[str, Any], place: int, is_head: bool) -> dict[str, Tensor]:
    names = {"kernel": f"n_Conv_{place}.weight"} | ({} if is_head else {"bias": f"n_Conv_{place}.bias"})
    held = {key: tree.get(name) for key, name in names.items()}
    found = {key: value for key, value in held.items() if isinstance(value, Tensor) and value.is_floating_point()}
    if len(found) != len(names) or found["kernel"].ndim != 4 or (is_head and f"n_Conv_{place}.bias" in tree):
        raise DamagedFileError(
            f"{path}: n_Conv_{place} must have a weight with 4 axes and, except for the last, a bias; download it again"
        )
    if not is_head and found["bias"].shape != found["kernel"].shape[:1]:
        raise DamagedFileError(f"{path}: weight and bias of n_Conv_{place} do not fit together; download it again")
    return found
