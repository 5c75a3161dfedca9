"""The DCGAN that every tutorial trains, and the plain multilayer generator: kind ``dcgan``.

Transposed convolutions of kernel 4, the first one from 1 x 1 to 4 x 4 pixels (stride 1, padding 0) or a linear
layer in its place, the others doubling the side (stride 2, padding 1); batch norm after each but the last;
Radford et al., "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks"
(2016), as in the examples of PyTorch. Or linear layers alone, as in Goodfellow et al. (2014).

A state dictionary has weights but neither strides nor activations, so files whose shapes leave more than one
reading are refused, and what shapes cannot tell is an option. z is the code; a class enters beside it, as content.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.checkpoints.checkpoint import Checkpoint
from latentedit.checkpoints.diagnosis import diagnose_tensors
from latentedit.checkpoints.trees import module_fields
from latentedit.errors import LatentEditError
from latentedit.generators.family import Family, Found
from latentedit.generators.networks.base import Network, Slot
from latentedit.generators.networks.dcgan import OWN, Layer, NotLayersError, read_layers

_TELLING = {
    "ReLU": ("activation", "relu"), "LeakyReLU": ("activation", "leaky"), "Tanh": ("range", "-1..1"),
    "Sigmoid": ("range", "0..1"), "BatchNorm1d": ("eps", ""), "BatchNorm2d": ("eps", ""),
}  # fmt: skip
_MUTE = ("ConvTranspose2d", "Linear", "Dropout", "Identity", "Flatten", "Unflatten")
_OPTIONS = {
    "labels": "how many of the first layer's last inputs are a one-hot class",
    "range": "-1..1 for tanh at the end, which is assumed, or 0..1 for a sigmoid",
    "activation": "relu or leaky (slope 0.2) between layers; relu is assumed of convolutions, leaky of linear layers",
    "eps": "of batch norm; 1e-5 is assumed",
}


def recognise(checkpoint: Checkpoint) -> Found | None:
    """The generator's tensors when they are a plain stack of layers, also one that :func:`build` then refuses."""
    if checkpoint.metadata.get("format", "pt") != "pt" or (checkpoint.part is not None and checkpoint.part.guessed):
        return None
    tensors = checkpoint.state()
    try:
        read_layers(tensors, ordered=checkpoint.container != "safetensors")
    except NotLayersError:
        return None
    except LatentEditError:
        if diagnose_tensors(tensors) is not None:
            return None
        # near enough for the reason to be of use
    return Found(tensors)


def build(found: Found, checkpoint: Checkpoint, options: Mapping[str, str]) -> Network:
    """The network; see :class:`DCGAN`.

    Raises:
        LatentEditError: the layers leave more than one reading, or an option does not fit.
    """
    try:
        first, label, rest = read_layers(found.tensors, ordered=checkpoint.container != "safetensors")
        return DCGAN(first, label, rest, options, told_by_modules(checkpoint.tree))
    except LatentEditError as error:
        raise LatentEditError(f"{checkpoint.path}: {error}") from error


class DCGAN(Network):
    """Codes, and one-hot classes as content, to pictures.

    Args:
        first: takes the code, or the code and the class side by side.
        label: takes the class, where it has a layer of its own; its output is appended to that of ``first``.
        rest: the layers after it.
        options: see ``FAMILY.options``.
        told: those of them that the file tells; see :func:`told_by_modules`.
    """

    def __init__(
        self,
        first: Layer,
        label: Layer | None,
        rest: list[Layer],
        options: Mapping[str, str],
        told: Mapping[str, str],
    ) -> None:
        super().__init__()
        options = {**told, **options}
        self.labels = _labels(options, first, label)
        self.label_in_decoder = self.labels > 0
        self.dim = self.z_dim = first.inputs - (self.labels if label is None else 0)
        self.mapping = _code
        self.mean = torch.zeros(self.dim)
        self._rows = {first.name: first.rows()[:, : self.dim].clone()}
        convolutional = any(layer.is_convolution for layer in (first, *rest))
        activation = _choice(options, "activation", ("relu", "leaky"), "relu" if convolutional else "leaky")
        range_ = _choice(options, "range", ("-1..1", "0..1"), "-1..1")
        eps = _number(options, "eps", 1e-5)
        self.title = "a DCGAN" if convolutional else "a generator of linear layers"
        sides = _sides(first, rest)
        slope = 0.2 if activation == "leaky" else 0.0
        heads = [Block(layer, sides[0], slope, eps, first=True) for layer in (first, label) if layer is not None]
        body = [Block(layer, side, slope, eps) for layer, side in zip(rest, sides[1:], strict=True)]
        self.channels, self.resolution = sides[-1]
        self.synthesis = Synthesis(heads, body, sigmoid=range_ == "0..1")
        self.slots = (Slot(first.name, sides[0][1], first.outputs),)
        normed = any(layer.norm for layer in (first, *rest))
        said = {"activation": activation, "range": range_, **({"eps": f"{eps:g}"} if normed else {})}
        assumed = [f"{key}={value}" for key, value in said.items() if key not in options]
        self.notes = (f"not in the file and assumed: {', '.join(assumed)}",) if assumed else ()
        if not normed:
            self.notes += ("no batch norm in the file, so none is applied; norms without weights cannot be seen",)
        if not self.labels:
            self.notes += ("a class among the inputs cannot be seen; ?labels=N says that the last N are one",)

    def style_weights(self) -> dict[str, Tensor]:
        """The first layer's weight (outputs x positions, dim), without the columns of the class."""
        return dict(self._rows)


class Synthesis(nn.Module):
    """First layers, of the code and perhaps of the class, then the others."""

    def __init__(self, heads: list[Block], body: list[Block], *, sigmoid: bool) -> None:
        super().__init__()
        self.heads, self.body, self.sigmoid = nn.ModuleList(heads), nn.ModuleList(body), sigmoid

    def forward(self, codes: Tensor, content: Tensor | None, noise: str | int) -> Tensor:
        """Codes (n, 1, dim) and classes (n, labels) to pictures (n, channels, H, W)."""
        x = codes[:, 0]
        if content is None:
            x = self.heads[0](x)
        elif len(self.heads) == 1:
            x = self.heads[0](torch.cat([x, content], 1))
        else:
            x = torch.cat([self.heads[0](x), self.heads[1](content)], 1)
        for block in self.body:
            x = block(x)
        return torch.sigmoid(x) * 2 - 1 if self.sigmoid else torch.tanh(x)


class Block(nn.Module):
    """One layer, its batch norm if there is one, and the activation unless it is the last.

    Args:
        layer: read from the file.
        shape: channels and side of its output; a linear layer whose numbers stay flat has side 1.
        slope: of the activation below zero.
        eps: of batch norm.
        first: it takes the code.
    """

    def __init__(self, layer: Layer, shape: tuple[int, int], slope: float, eps: float, *, first: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.weight)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias)
        self.norm = nn.ParameterDict({name: nn.Parameter(t) for name, t in (layer.norm or {}).items()})
        self.shape, self.slope, self.eps, self.first, self.last = shape, slope, eps, first, layer.last

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.ndim == 4:
            x = x[:, :, None, None] if self.first else x
            stride, padding = (1, 0) if self.first else (2, 1)
            x = F.conv_transpose2d(x, self.weight, self.bias, stride, padding)
        else:
            x = F.linear(x, self.weight, self.bias)
        if "running_mean" in self.norm and len(self.norm["running_mean"]) == x.shape[1]:
            return self._shaped(self._activated(self._normed(x)))
        x = self._shaped(x)
        return self._activated(self._normed(x) if "running_mean" in self.norm else x)

    def _shaped(self, x: Tensor) -> Tensor:
        channels, side = self.shape
        return x if side == 1 or x.ndim == 4 else x.unflatten(1, (channels, side, side))

    def _normed(self, x: Tensor) -> Tensor:
        scale, shift = (self.norm[name] if name in self.norm else None for name in ("weight", "bias"))
        return F.batch_norm(x, self.norm["running_mean"], self.norm["running_var"], scale, shift, eps=self.eps)

    def _activated(self, x: Tensor) -> Tensor:
        return x if self.last else F.leaky_relu(x, self.slope) if self.slope else F.relu(x)


def _code(z: Tensor, one_hot: Tensor | None) -> Tensor:
    return z


def told_by_modules(tree: object) -> dict[str, str]:
    """Options that a module saved whole tells by the classes inside it; none of a state dictionary.

    Raises:
        LatentEditError: it has a module, or strides, that this kind does not read.
    """
    told: dict[str, set[str]] = {"activation": set(), "range": set(), "eps": set()}
    stack = [tree]
    while stack:
        thing = stack.pop()
        fields = module_fields(thing)
        if fields is None:
            continue
        children = fields.get("_modules") or {}
        stack += children.values()
        path, _, name = getattr(thing, "class_name", "").rpartition(".")
        if path.startswith("torch.nn.modules.") and not children:
            _tell(name, fields, told)
    for key, values in told.items():
        if len(values) > 1:
            raise LatentEditError(f"its modules have {key} {' and '.join(sorted(values))}; {OWN}")
    return {key: values.pop() for key, values in told.items() if values}


def _tell(name: str, fields: Mapping[str, Any], told: Mapping[str, set[str]]) -> None:
    strides = [tuple(fields.get(key, ())) for key in ("stride", "padding")] if name == "ConvTranspose2d" else []
    slope = fields.get("negative_slope", 0.2)
    if strides and strides not in ([(1, 1), (0, 0)], [(2, 2), (1, 1)]):
        raise LatentEditError(f"a {name} has stride and padding {strides[0]} and {strides[1]}; {OWN}")
    if name not in _TELLING and not name.startswith(_MUTE) or slope != 0.2:
        raise LatentEditError(f"it has a module {name}{f' of slope {slope:g}' if slope != 0.2 else ''}; {OWN}")
    if name in _TELLING:
        key, value = _TELLING[name]
        told[key].add(value or f"{fields.get('eps', 1e-5):g}")


def _sides(first: Layer, rest: list[Layer]) -> list[tuple[int, int]]:
    """Channels and side of every layer's output."""
    shapes = [(first.outputs, 4)] if first.is_convolution else []
    linear = [layer for layer in (first, *rest) if not layer.is_convolution]
    convolutions = [layer for layer in rest if layer.is_convolution]
    shapes += [(layer.outputs, 1) for layer in linear]
    if linear:
        last = linear[-1].outputs
        channels = convolutions[0].inputs if convolutions else (1 if isqrt(last) ** 2 == last else 3)
        shapes[-1] = (channels, isqrt(last // channels))
    for layer in convolutions:
        shapes.append((layer.outputs, 2 * shapes[-1][1]))
    return shapes


def _labels(options: Mapping[str, str], first: Layer, label: Layer | None) -> int:
    """Number of classes: the option's, or the inputs of a layer of their own."""
    own = label.inputs if label is not None else None
    if "labels" not in options:
        return own or 0
    text = options["labels"]
    most = first.inputs - 1
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise LatentEditError(f"labels is {text!r}; {first.name} has {first.inputs} inputs, so give 1 to {most}")
    if own not in (None, int(text)):
        raise LatentEditError(f"labels is {text}; {label.name if label else ''} takes {own}, so leave the option out")
    return int(text)


def _choice(options: Mapping[str, str], key: str, known: tuple[str, str], default: str) -> str:
    value = options.get(key, default)
    if value not in known:
        raise LatentEditError(f"{key} is {value!r}; give {known[0]} or {known[1]}")
    return value


def _number(options: Mapping[str, str], key: str, default: float) -> float:
    try:
        value = float(options.get(key, default))
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise LatentEditError(f"{key} is {options[key]!r}; give a number above 0")
    return value


FAMILY = Family(
    kind="dcgan",
    title="a DCGAN or a generator of linear layers",
    recognise=recognise,
    build=build,
    options=_OPTIONS,
)
