"""DeepDanbooru's residual networks in torch, inferred from the shapes of their convolutions alone.

Bottleneck networks (He et al., 2016) with TensorFlow's ``same`` padding: a 7 x 7 stem, stages of blocks, the first of
a stage with a convolution in its shortcut, and one of two heads: a 1 x 1 convolution and the mean of the picture, or
means of 7 x 7 and a dense layer (``resnet_152``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.errors import DamagedFileError

POOL = 7  # side of the means in front of a dense head

Kernel = tuple[Tensor, Tensor | None]
"""Weight (out, in, side, side) and bias (out,) of a convolution."""


class Block(NamedTuple):
    """Places, in the list of convolutions, of those of a bottleneck block."""

    main: tuple[int, int, int]
    shortcut: int | None
    stride: int
    """Of the 3 x 3 convolution and the shortcut's."""


def arrange(shapes: Sequence[Sequence[int]], *, dense: bool) -> list[Block]:
    """The blocks of a network whose convolutions have these shapes (out, in, side, side), in order.

    A shortcut's convolution comes after the three of its block, as in Keras, or before them, as in most stages of the
    PyTorch port. Where shapes allow both (equal widths: after one block, before the next), it comes after, as in the
    one such stage of the port. The last convolution is the head, unless that is dense.

    Raises:
        DamagedFileError: no such network has them.
    """
    sizes = [tuple(shape) for shape in shapes]
    end = len(sizes) - (0 if dense else 1)
    if end < 4 or sizes[0][1:] != (3, 7, 7):
        raise _strange(sizes, 0)
    blocks: list[Block] = []
    channels, place, stage = sizes[0][0], 1, 0
    while place < end:
        shortcut = place if place + 3 < end and sizes[place + 1][2] == 1 else None
        start = place if shortcut is None else place + 1
        if start + 2 >= end:
            raise _strange(sizes, place)
        inner, outer = sizes[start][0], sizes[start + 2][0]
        place = start + 3
        projection = (outer, channels, 1, 1)
        if shortcut is None and place < end and sizes[place] == projection:
            shortcut, place = place, place + 1
        wanted = {start: (inner, channels, 1, 1), start + 1: (inner, inner, 3, 3), start + 2: (outer, inner, 1, 1)}
        if shortcut is not None:
            wanted[shortcut] = projection
        for index, size in wanted.items():
            if sizes[index] != size:
                raise _strange(sizes, index)
        if shortcut is None and (outer != channels or not blocks):
            raise _strange(sizes, start)
        stage += shortcut is not None
        stride = 2 if shortcut is not None and stage > 1 else 1
        blocks.append(Block((start, start + 1, start + 2), shortcut, stride))
        channels = outer
    if not dense and sizes[-1][1:] != (channels, 1, 1):
        raise _strange(sizes, len(sizes) - 1)
    return blocks


def _strange(sizes: Sequence[tuple[int, ...]], place: int) -> DamagedFileError:
    shape = sizes[place] if place < len(sizes) else "no shape"
    return DamagedFileError(
        f"its convolution {place} of {len(sizes)} (out, in, height, width: {shape}) does not fit; it must be a "
        "residual network of DeepDanbooru's: resnet_152 or resnet_custom_v1 ... v4"
    )


def features(height: int, width: int, blocks: Sequence[Block]) -> tuple[int, int]:
    """Height and width of what the last block gives for pictures of that size."""
    for _ in range(2 + sum(block.stride == 2 for block in blocks)):
        height, width = -(-height // 2), -(-width // 2)
    return height, width


def fold(kernel: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor, epsilon: float) -> Kernel:
    """A convolution (out, in, side, side) and the batch normalisation after it, (out,) each, as one convolution.

    In float64, so that folding costs no precision.
    """
    scale = gamma.double() / (variance.double() + epsilon).sqrt()
    folded = kernel.double() * scale[:, None, None, None]
    return folded.float(), (beta.double() - mean.double() * scale).float()


def _pad_same(x: Tensor, side: int, stride: int, value: float) -> Tensor:
    """TensorFlow's ``same`` padding of (n, c, H, W), which puts the odd pixel after the picture, not before."""
    before_after: list[int] = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + side - size, 0)
        before_after += [total // 2, total - total // 2]
    return F.pad(x, before_after, value=value) if any(before_after) else x


class Convolution(nn.Module):
    """A convolution with ``same`` padding."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, kernel: Kernel, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.register_buffer("weight", kernel[0])
        self.register_buffer("bias", kernel[1])

    def forward(self, x: Tensor) -> Tensor:
        side = self.weight.shape[2]
        if self.stride == 1:  # odd sides: the same before and after, which convolutions do themselves
            return F.conv2d(x, self.weight, self.bias, padding=side // 2)
        return F.conv2d(_pad_same(x, side, self.stride, 0.0), self.weight, self.bias, self.stride)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut."""

    def __init__(self, block: Block, kernels: Sequence[Kernel]) -> None:
        super().__init__()
        reduce, middle, expand = block.main
        self.reduce = Convolution(kernels[reduce], 1)
        self.middle = Convolution(kernels[middle], block.stride)
        self.expand = Convolution(kernels[expand], 1)
        self.shortcut = nn.Identity() if block.shortcut is None else Convolution(kernels[block.shortcut], block.stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.middle(self.reduce(x).relu_()).relu_()
        return self.expand(y).add_(self.shortcut(x)).relu_()


class ResidualNetwork(nn.Module):
    """Pictures (n, 3, H, W) in [0, 1] to logits (n, tags).

    Args:
        kernels: of all convolutions, batch normalisation folded in.
        blocks: as :func:`arrange` gives them.
        dense: weight (in, tags) and bias (tags,) of a dense head; None for a convolution, the last of ``kernels``.
    """

    head: Tensor
    head_bias: Tensor | None

    def __init__(self, kernels: Sequence[Kernel], blocks: Sequence[Block], dense: tuple[Tensor, Tensor] | None) -> None:
        super().__init__()
        self.stem = Convolution(kernels[0], 2)
        self.blocks = nn.Sequential(*(Bottleneck(block, kernels) for block in blocks))
        self.is_dense = dense is not None
        self.register_buffer("head", dense[0].T if dense else kernels[-1][0][:, :, 0, 0])  # (tags, in)
        self.register_buffer("head_bias", dense[1] if dense else None)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(_pad_same(self.stem(x).relu_(), 3, 2, float("-inf")), 3, 2)
        x = self.blocks(x)
        if self.is_dense:
            x = F.avg_pool2d(x, POOL).permute(0, 2, 3, 1).flatten(1)  # channels last, as in Keras
        else:
            x = x.mean((2, 3))  # before the 1 x 1 convolution rather than after: both are linear
        return F.linear(x, self.head, self.head_bias)
