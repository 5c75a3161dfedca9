"""The networks of GANs N' Roses, built from tensors under the names of mchong6/GANsNRoses.

Chong & Forsyth, "GANs N' Roses: Stable, Controllable, Diverse Image to Image Translation" (2021). Names, shapes and
constants: github.com/mchong6/GANsNRoses, ``model.py``. The encoder is that of StyleGAN2's discriminator (residual
blocks that blur and halve) with two heads; the decoder is StyleGAN2's, of content instead of a constant.
"""

from __future__ import annotations

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.generators.networks.base import Slot
from latentedit.generators.networks.stylegan2 import GAIN, SLOPE, StyledConv, Tensors, ToRGB, fir


class Conv(nn.Module):
    """Convolution, bias, leaky ReLU, after a blur where it halves: (n, inputs, h, w) to (n, outputs, h, w) or half.

    Args:
        tensors: of this layer: ``0.weight``, ``1.bias``, or ``0.kernel``, ``1.weight``, ``2.bias`` where it halves.
        inputs: channels that come.
        side: of the kernel.
        linear: without bias and activation.
    """

    weight: Tensor
    bias: Tensor
    blur: Tensor

    def __init__(self, tensors: Tensors, inputs: int, side: int, *, linear: bool = False) -> None:
        super().__init__()
        self.halves, self.linear, self.inputs, self.side = "0.kernel" in tensors, linear, inputs, side
        at = 1 if self.halves else 0
        weight = tensors.take(f"{at}.weight", -1, inputs, side, side)
        self.outputs = int(weight.shape[0])
        self.register_buffer("weight", weight * ((1 if linear else GAIN) / sqrt(inputs * side**2)))
        if not linear:
            self.register_buffer("bias", tensors.take(f"{at + 1}.bias", self.outputs) * GAIN)
        if self.halves:
            self.register_buffer("blur", (fir(tensors.under("0.")) / 4).flip(0, 1).repeat(inputs, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        stride = 1
        if self.halves:
            # Where the kernel is one pixel, those that the stride leaves out are not blurred in the first place.
            stride = 1 if self.side == 1 else 2
            x = F.conv2d(x, self.blur, padding=(self.side + 1) // 2, stride=2 // stride, groups=self.inputs)
        padding = 0 if self.halves else self.side // 2
        x = F.conv2d(x, self.weight, None if self.linear else self.bias, stride=stride, padding=padding)
        return x if self.linear else F.leaky_relu(x, SLOPE, inplace=True)


class ResBlock(nn.Module):
    """Two convolutions and the way around them; halves the side where its tensors do."""

    def __init__(self, tensors: Tensors, inputs: int) -> None:
        super().__init__()
        self.conv1 = Conv(tensors.under("conv1."), inputs, 3)
        self.conv2 = Conv(tensors.under("conv2."), self.conv1.outputs, 3)
        self.outputs = self.conv2.outputs
        around = self.conv2.halves or self.outputs != inputs
        self.skip = Conv(tensors.under("skip."), inputs, 1, linear=True) if around else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x)) + self.skip(x)) / sqrt(2)


class Encoder(nn.Module):
    """Pictures (n, inputs, size, size) to content (n, channels, side, side) and style z (n, z_dim).

    Attributes:
        inputs: channels of the pictures.
        size: side of the pictures.
        channels: of the content.
        side: of the content.
    """

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        self.inputs = int(tensors.take("stem.0.0.weight", -1, -1, 1, 1).shape[1])
        first = Conv(tensors.under("stem.0."), self.inputs, 1)
        blocks: list[ResBlock] = []
        channels = first.outputs
        for i in range(1, tensors.count(r"stem\.(\d+)\.")):
            blocks.append(ResBlock(tensors.under(f"stem.{i}."), channels))
            channels = blocks[-1].outputs
        self.stem = nn.Sequential(first, *blocks)
        self.channels = channels
        self.content = nn.Sequential(*(Conv(tensors.under(f"content.{i}."), channels, 1) for i in range(2)))
        convs: list[Conv] = []
        while f"style.{len(convs)}.0.kernel" in tensors:
            convs.append(Conv(tensors.under(f"style.{len(convs)}."), channels, 3))
            channels = convs[-1].outputs
        self.style = nn.Sequential(*convs, nn.Flatten())
        self.side = 4 * 2 ** len(convs)
        self.size = self.side * 2 ** sum(block.conv2.halves for block in blocks)
        self.hidden = _linear(tensors.under(f"style.{len(convs) + 1}."), channels * 16, GAIN)
        self.head = _linear(tensors.under(f"style.{len(convs) + 2}."), self.hidden.out_features, 1.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        return self.content(x), self.head(F.leaky_relu(self.hidden(self.style(x)), SLOPE))


def _linear(tensors: Tensors, inputs: int, gain: float) -> nn.Linear:
    weight = tensors.take("weight", -1, inputs)
    layer = nn.Linear(inputs, weight.shape[0])
    layer.weight.data = weight * (gain / sqrt(inputs))
    layer.bias.data = tensors.take("bias", weight.shape[0]) * gain
    return layer


class Decoder(nn.Module):
    """Codes (n, layers, dim) and content (n, channels, side, side) to pictures (n, outputs, size, size).

    Attributes:
        slots: each residual block's two convolutions share one; every other layer has its own.
        inputs: channels of the content.
        outputs: channels of the pictures.
    """

    def __init__(self, tensors: Tensors, side: int, dim: int) -> None:
        super().__init__()
        depth, blocks = tensors.count(r"adain_bottleneck\.(\d+)\."), tensors.count(r"to_rgbs\.(\d+)\.")
        residual = [f"adain_bottleneck.{i}" for i in range(depth)]
        named = [f"{name}.{conv}" for name in residual for conv in ("conv1", "conv2")]
        names = [*named, "conv1", *(f"convs.{i}" for i in range(2 * blocks))]
        convs = {
            name: StyledConv(tensors.under(f"{name}."), upsample=name.startswith("convs.") and int(name[6:]) % 2 == 0)
            for name in names
        }
        rgb_names = ["to_rgb1", *(f"to_rgbs.{i}" for i in range(blocks))]
        to_rgbs = {name: ToRGB(tensors.under(f"{name}."), upsample=i > 0) for i, name in enumerate(rgb_names)}
        for name, layer in [*convs.items(), *to_rgbs.items()]:
            if layer.affine.dim != dim:
                raise ValueError(f"{name} takes codes of {layer.affine.dim} numbers, and the mapping makes {dim}")
        self.depth, self.inputs = depth, convs[names[0]].inputs
        slots = [Slot(name, side, convs[f"{name}.conv1"].inputs) for name in residual]
        for i, rgb in enumerate(rgb_names):
            block = ["conv1"] if i == 0 else [f"convs.{2 * i - 2}", f"convs.{2 * i - 1}"]
            slots += [Slot(name, side * 2**i, convs[name].inputs) for name in block]
            slots.append(Slot(rgb, side * 2**i, to_rgbs[rgb].inputs))
        self.slots, self.outputs = tuple(slots), next(iter(to_rgbs.values())).outputs
        self.convs, self.to_rgbs = nn.ModuleList(convs.values()), nn.ModuleList(to_rgbs.values())

    def forward(self, codes: Tensor, content: Tensor, noise: str | int) -> Tensor:
        convs, styles = iter(self.convs), iter(codes.unbind(1))
        x, pictures = content, None
        for _ in range(self.depth):
            style, conv1, conv2 = next(styles), next(convs), next(convs)
            x = (conv2(conv1(x, style), style, spare=True) + x) / sqrt(2)
        for i, to_rgb in enumerate(self.to_rgbs):
            for _ in range(1 if i == 0 else 2):
                x = next(convs)(x, next(styles), spare=x is not content)
            pictures = to_rgb(x, next(styles), pictures)
        assert isinstance(pictures, torch.Tensor)
        return pictures
