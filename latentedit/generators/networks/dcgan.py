"""The layers of a plain stack, read off the names and shapes of a state dictionary."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isqrt

from torch import Tensor

from latentedit.errors import LatentEditError

_FEW = 16  # channels that a picture may have, though more than 4 are then refused
_NORM = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
Norms = dict[str, tuple[int, dict[str, Tensor]]]
"""Batch norms by name, each with the number of layers before it."""
OWN = (
    "reach it as torch:package.module:factory, with its own code, or write it with its layers by "
    "latentedit.generators.vae.write_vae"
)
"""What to do with a file whose tensors leave more than one reading."""


class NotLayersError(LatentEditError):
    """The tensors are not a stack of layers that draws a picture."""


@dataclass(frozen=True)
class Layer:
    """A transposed convolution, weight (inputs, outputs, 4, 4), or a linear layer, weight (outputs, inputs)."""

    name: str
    weight: Tensor
    bias: Tensor | None
    norm: Mapping[str, Tensor] | None = None
    """Batch norm after it: running_mean, running_var and perhaps weight and bias."""
    last: bool = False

    @property
    def is_convolution(self) -> bool:
        """Whether it is a transposed convolution."""
        return self.weight.ndim == 4

    @property
    def inputs(self) -> int:
        """Channels or numbers that it takes."""
        return int(self.weight.shape[0 if self.is_convolution else 1])

    @property
    def outputs(self) -> int:
        """Channels or numbers that it gives."""
        return int(self.weight.shape[1 if self.is_convolution else 0])

    def rows(self) -> Tensor:
        """The weight as a matrix (outputs x positions, inputs)."""
        return self.weight.flatten(1).T if self.is_convolution else self.weight


def read_layers(tensors: Mapping[str, Tensor], *, ordered: bool) -> tuple[Layer, Layer | None, list[Layer]]:
    """The first layer, the class's own first layer if there is one, and the rest in order.

    Args:
        tensors: of a state dictionary.
        ordered: they are in the order of the modules; safetensors files are not.

    Raises:
        NotLayersError: they are something else.
        LatentEditError: a stack of layers that leaves more than one reading, and why.
    """
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        groups.setdefault(module, {})[leaf] = tensor
    names = sorted(groups, key=_natural)
    reasons = []
    for order in (list(groups), names) if ordered else (names,):
        layers, norms, odd = _sorted_out({name: groups[name] for name in order})
        if not _ends_in_a_picture(layers):
            continue
        reason = odd or _problem(layers) or _kernels(layers)
        if reason is None:
            return _split(_with_norms(layers, norms))
        reasons.append(reason)
    if not reasons:
        raise NotLayersError("they end in no picture")
    raise LatentEditError(f"{reasons[0]}; {OWN}")


def _natural(name: str) -> list[str | int]:
    """``main.10`` after ``main.9``."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _sorted_out(groups: Mapping[str, Mapping[str, Tensor]]) -> tuple[list[Layer], Norms, str | None]:
    """Layers in order; batch norms by name, each with the number of layers before it; the first odd one out."""
    layers: list[Layer] = []
    norms: Norms = {}
    odd = None
    for name, group in groups.items():
        weight = group.get("weight")
        flat = all(tensor.ndim <= 1 for tensor in group.values())
        if weight is not None and weight.ndim in (2, 4) and set(group) <= {"weight", "bias"}:
            layers.append(Layer(name, weight, group.get("bias")))
        elif flat and {"running_mean", "running_var"} <= set(group) <= _NORM:
            kept = {leaf: tensor for leaf, tensor in group.items() if leaf != "num_batches_tracked"}
            norms[name] = len(layers), kept
        elif flat and set(group) <= _NORM:
            odd = odd or f"{name} holds {', '.join(sorted(group))}: a norm without running_mean and running_var"
        else:
            raise NotLayersError(f"{name} is no layer")
    return layers, norms, odd


def _ends_in_a_picture(layers: Sequence[Layer]) -> bool:
    """Whether the layers may be a generator's, by the first and the last."""
    if len(layers) < 2:
        return False
    first, last = layers[0], layers[-1]
    if last.is_convolution:
        few = last.outputs <= _FEW and _problem(layers) is None and _kernels(layers) is None
        ends = last.outputs in (1, 3) or few or (last.inputs in (1, 3) and not first.is_convolution)
        starts = not first.is_convolution or first.outputs not in (1, 3)
    else:
        n, linear = last.outputs, not any(layer.is_convolution for layer in layers)
        ends = linear and n >= 64 and (isqrt(n) ** 2 == n or (n % 3 == 0 and isqrt(n // 3) ** 2 == n // 3))
        starts = first.inputs < n and _problem(layers[1:]) is None
    return ends and starts


def _two_inputs(layers: Sequence[Layer]) -> bool:
    """Code and class have a first layer each, and what these give is put side by side."""
    if len(layers) < 3 or len({layer.weight.ndim for layer in layers[:3]}) > 1:
        return False
    return layers[0].outputs + layers[1].outputs == layers[2].inputs and layers[0].outputs != layers[1].inputs


def _problem(layers: Sequence[Layer]) -> str | None:
    """Why they do not follow each other, or None."""
    if _two_inputs(layers):
        a, b = layers[:2]
        if b.inputs >= a.inputs:
            return f"{a.name} and {b.name} take {a.inputs} and {b.inputs} numbers: which is the class cannot be told"
        layers = layers[2:]
    if len(layers) > 1 and not layers[0].is_convolution and layers[-1].is_convolution and layers[-1].inputs in (1, 3):
        return f"{layers[-1].name} is no transposed convolution: up-sampling before convolutions leaves strides open"
    for a, b in zip(layers, layers[1:], strict=False):
        if a.is_convolution and not b.is_convolution:
            return f"the linear layer {b.name} comes after the convolution {a.name}"
        pixels = a.outputs / b.inputs if b.is_convolution and not a.is_convolution else 1
        if pixels == 1 and a.outputs == b.inputs and a.weight.ndim == b.weight.ndim:
            continue
        if pixels > 1 and isqrt(int(pixels)) ** 2 == pixels:
            continue
        if pixels > 1 and pixels == int(pixels):
            return f"{a.name} gives {b.inputs} channels of {int(pixels)} pixels, no square; square ones are supported"
        if not a.is_convolution and a.bias is None and a is layers[0] and _problem(layers[1:]) is None:
            return f"{a.name} is an embedding of classes, and how it meets the code cannot be told"
        return (
            f"{a.name} gives {a.outputs} channels and {b.name} takes {b.inputs}: "
            "a layer is missing, or there are branches"
        )
    return None


def _kernels(layers: Sequence[Layer]) -> str | None:
    """Why strides cannot be told from the kernels, or None."""
    for layer in layers:
        height, width = layer.weight.shape[2:] if layer.is_convolution else (4, 4)
        if height != width:
            return f"{layer.name} has a kernel of {height} x {width}; square pictures are supported, of kernels 4 x 4"
        if (height, width) != (4, 4):
            return f"{layer.name} has a kernel of {height} x {width}; strides can be told from kernels of 4 x 4 alone"
    return None


def _with_norms(layers: list[Layer], norms: Norms) -> list[Layer]:
    """Each batch norm with the layer before it; those that stand apart, with the first free ones that fit."""
    found = list(layers)
    apart = []
    for name, (before, norm) in norms.items():
        if before and found[before - 1].norm is None and _fits(found, before - 1, norm):
            found[before - 1] = replace(found[before - 1], norm=norm)
        else:
            apart.append((name, norm))
    start = 0
    for name, norm in apart:
        free = [i for i in range(start, len(found)) if found[i].norm is None and _fits(found, i, norm)]
        if not free:
            raise LatentEditError(f"the batch norm {name} fits no layer; {OWN}")
        found[free[0]] = replace(found[free[0]], norm=norm)
        start = free[0] + 1
    return found


def _fits(layers: Sequence[Layer], i: int, norm: Mapping[str, Tensor]) -> bool:
    """Whether a norm has the layer's outputs, or the channels that a linear layer's outputs are shaped into."""
    width = len(norm["running_mean"])
    shaped = [layer.inputs for layer in layers[i + 1 : i + 2] if layer.is_convolution and not layers[i].is_convolution]
    return width in (layers[i].outputs, *shaped)


def _split(layers: list[Layer]) -> tuple[Layer, Layer | None, list[Layer]]:
    layers[-1] = replace(layers[-1], last=True)
    two = _two_inputs(layers)
    return layers[0], layers[1] if two else None, layers[2 if two else 1 :]
