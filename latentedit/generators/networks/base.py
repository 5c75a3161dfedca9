"""What every family's network is made of: its slots, and the interface that the contract is fulfilled with."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Slot(NamedTuple):
    """One place of a network that consumes a style code."""

    name: str
    resolution: int
    """Side of the pictures or feature maps there, in pixels; the longer one where they are oblong."""
    width: int
    """How many numbers the style becomes there, usually one per channel."""


class Network(nn.Module):
    """What a family builds, filled with the file's weights in float32.

    Attributes:
        z_dim: numbers of z.
        dim: numbers of a style code.
        channels: of the pictures: grey, grey and alpha, colours, colours and alpha.
        resolution: side of the pictures; the longer one where they are oblong.
        picture_size: height and width of oblong pictures; None for squares.
        slots: in the order in which codes are consumed.
        labels: classes of a conditional network; 0 when there are none.
        label_in_decoder: the class enters the decoder rather than the code; ``synthesis`` then takes it as
            content, a one-hot row (n, labels).
        mapping: module or function, called with z (n, z_dim) and a one-hot class (n, labels) or None, to
            codes (n, dim). A module runs in float64 on the processor, so that a code depends neither on the
            batch nor on the device.
        synthesis: module, called with codes (n, layers, dim), content or None, and the noise ("stored",
            "none" or a seed), to pictures (n, channels, H, W).
        mean: stored mean of the codes (dim,) for truncation, or None.
        channels_last: decode with channels innermost in memory where that pays.
        notes: lines that ``info`` shows: what the file does not say and was assumed.
        title: what it is, where the family's title covers several networks.
    """

    z_dim: int
    dim: int
    resolution: int
    channels: int = 3
    picture_size: tuple[int, int] | None = None
    slots: tuple[Slot, ...]
    labels: int = 0
    label_in_decoder: bool = False
    mapping: Callable[[Tensor, Tensor | None], Tensor]
    synthesis: nn.Module
    mean: Tensor | None = None
    channels_last: bool = False
    notes: tuple[str, ...] = ()
    title: str = ""

    def style_weights(self) -> dict[str, Tensor]:
        """Weights (m, dim) by module name that style codes are multiplied with, for SeFa; raw."""
        raise NotImplementedError


def channels_last_pays(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether convolutions are faster so: on processors in float32 (a fifth, ``benchmarks/decode.py``; in half
    precision far slower), on GPUs in half precision, whose matrix units want it."""
    return dtype == torch.float32 if device.type == "cpu" else dtype in (torch.float16, torch.bfloat16)
