"""The network of StyleGAN2, built from tensors under the names of rosinality/stylegan2-pytorch.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (CVPR 2020), sections 2.2 and 4; the
clamping and the half-precision arithmetic are of Karras et al., "Training Generative Adversarial Networks with
Limited Data" (NeurIPS 2020). Names, shapes and constants: github.com/rosinality/stylegan2-pytorch, ``model.py``.

A modulated convolution ``conv(x, w * s) / ||w * s||`` is computed as ``conv(x * s, w) * d`` with
``d = (s^2 w^2 + 1e-8)^(-1/2)``: the style goes onto the input, so that a batch shares one ordinary convolution and
no weights are made per picture. What does not depend on the code is computed once, when the network is built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.generators.networks.base import Network, Slot

MAPPING_RATE = 0.01
"""Factor on the stored weights and biases of the mapping, its learning rate in training."""
GAIN = sqrt(2)
SLOPE = 0.2
EPSILON = 1e-8
HALF = (torch.float16, torch.bfloat16)


class Tensors:
    """Tensors by name under a prefix; what is missing, or of another shape, is named.

    Args:
        tensors: by full name.
        prefix: put before each name, such as ``convs.3.``.
    """

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
        self.tensors, self.prefix = tensors, prefix

    def under(self, prefix: str) -> Tensors:
        """The tensors whose names go on with ``prefix``."""
        return Tensors(self.tensors, self.prefix + prefix)

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.tensors

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor in this shape, where -1 stands for any length; leading lengths of 1 are dropped or added.

        Raises:
            ValueError: there is none, or it has another shape.
        """
        full = self.prefix + name
        if full not in self.tensors:
            raise ValueError(f"{full} is missing")
        tensor = self.tensors[full]
        while tensor.ndim > len(shape) and tensor.shape[0] == 1:
            tensor = tensor[0]
        if tensor.ndim != len(shape) or any(b not in (-1, a) for a, b in zip(tensor.shape, shape, strict=True)):
            needed = ", ".join("any" if length < 0 else str(length) for length in shape)
            raise ValueError(f"{full} has shape {tuple(self.tensors[full].shape)}; ({needed}) is needed")
        return tensor

    def count(self, pattern: str) -> int:
        """One more than the largest number that the group of a pattern of full names takes; 0 without any."""
        found = (re.match(re.escape(self.prefix) + pattern, name) for name in self.tensors)
        return max((int(match[1]) + 1 for match in found if match), default=0)


class StyleMapping(nn.Module):
    """z (n, z_dim), and a class (n, labels) if there are any, to codes (n, dim).

    Args:
        layers: weights (outputs, inputs) and biases (outputs,), as stored.
        embed: weight (width, labels) and bias (width,) of the class's embedding.
        normalise: divide z by its root mean square first.
    """

    def __init__(
        self, layers: Sequence[tuple[Tensor, Tensor]], *, embed: Sequence[Tensor] = (), normalise: bool = True
    ) -> None:
        super().__init__()
        self.depth, self.normalise, self.conditional = len(layers), normalise, bool(embed)
        for i, (weight, bias) in enumerate(layers):
            self.register_buffer(f"weight{i}", weight * (MAPPING_RATE * GAIN / sqrt(weight.shape[1])))
            self.register_buffer(f"bias{i}", bias * (MAPPING_RATE * GAIN))
        for name, tensor in zip(("embed_weight", "embed_bias"), embed, strict=False):
            self.register_buffer(name, tensor / sqrt(tensor.shape[1]) if tensor.ndim == 2 else tensor)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        x = _normalised(z) if self.normalise else z
        if self.conditional:
            assert label is not None
            embedded = F.linear(label.to(x.dtype), self.get_buffer("embed_weight"), self.get_buffer("embed_bias"))
            x = torch.cat([x, _normalised(embedded)], 1)
        for i in range(self.depth):
            x = F.leaky_relu(F.linear(x, self.get_buffer(f"weight{i}"), self.get_buffer(f"bias{i}")), SLOPE)
        return x


def _normalised(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + EPSILON)


class Affine(nn.Module):
    """Code (n, dim) to style (n, channels), of ``modulation.weight`` (channels, dim) and ``modulation.bias``."""

    weight: Tensor
    bias: Tensor

    def __init__(self, tensors: Tensors, channels: int) -> None:
        super().__init__()
        weight = tensors.take("modulation.weight", channels, -1)
        self.dim = weight.shape[1]
        self.register_buffer("weight", weight / sqrt(self.dim))
        self.register_buffer("bias", tensors.take("modulation.bias", channels).clone())

    def forward(self, w: Tensor) -> Tensor:
        style = F.linear(w, self.weight, self.bias)
        return style.float() if style.dtype in HALF else style


class StyledConv(nn.Module):
    """Modulated convolution, noise, bias, leaky ReLU: (n, inputs, h, w) to (n, outputs, h, w) or twice the side.

    Weights are divided by their largest per output, and in half precision styles by theirs: demodulation cancels
    both, and sums stay in range.

    Args:
        tensors: of this layer: ``conv.weight`` (outputs, inputs, k, k), ``conv.modulation.*``, ``activate.bias``
            and, where it has noise, ``noise.weight``.
        upsample: double the side: transposed convolution, then the filter ``conv.blur.kernel``.
        clamp: largest magnitude that leaves, or None.
    """

    weight: Tensor
    power: Tensor
    epsilon: Tensor
    bias: Tensor
    strength: Tensor
    blur: Tensor

    def __init__(self, tensors: Tensors, *, upsample: bool = False, clamp: float | None = None) -> None:
        super().__init__()
        weight = tensors.take("conv.weight", -1, -1, -1, -1)
        self.outputs, self.inputs, side = int(weight.shape[0]), int(weight.shape[1]), weight.shape[2]
        self.affine = Affine(tensors.under("conv."), self.inputs)
        self.upsample, self.clamp = upsample, clamp
        largest = weight.abs().amax((1, 2, 3)).clamp(min=EPSILON)  # (outputs,)
        weight = weight / (largest[:, None, None, None] * sqrt(self.inputs * side**2))
        self.register_buffer("weight", (weight.transpose(0, 1) if upsample else weight).contiguous())
        self.fan_in = self.inputs * side**2
        self.register_buffer("power", weight.square().sum((2, 3)).t() * self.fan_in)  # (inputs, outputs)
        self.register_buffer("epsilon", EPSILON / largest.square())
        self.register_buffer("bias", tensors.take("activate.bias", self.outputs)[None, :, None, None] * GAIN)
        strength = tensors.take("noise.weight") if "noise.weight" in tensors else weight.new_zeros(())
        self.register_buffer("strength", strength * GAIN)
        if upsample:
            self.register_buffer("blur", fir(tensors.under("conv.blur.")).flip(0, 1).repeat(self.outputs, 1, 1, 1))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None, *, spare: bool = False) -> Tensor:
        """Without gradients memory is written again: a new tensor of this size costs as much as the arithmetic.

        Args:
            x: features.
            w: code (n, dim).
            noise: map (1, 1, h, w), or None.
            spare: nobody needs x any more.
        """
        again = not torch.is_grad_enabled()
        style, factor = (part.to(x.dtype)[:, :, None, None] for part in self._style(w, normalise=x.dtype in HALF))
        x = torch.mul(x, style, out=x if spare and again else None)
        if self.upsample:
            x = F.conv2d(F.conv_transpose2d(x, self.weight, stride=2), self.blur, padding=1, groups=self.outputs)
        else:
            x = F.conv2d(x, self.weight, padding=self.weight.shape[-1] // 2)
        x = torch.addcmul(self.bias, x, factor, out=x if again else None)
        if noise is not None:
            x += self.strength * noise.to(x.dtype)
        x = F.leaky_relu(x, SLOPE, inplace=True)
        return x if self.clamp is None else torch.clamp(x, -self.clamp, self.clamp, out=x if again else None)

    def _style(self, w: Tensor, *, normalise: bool) -> tuple[Tensor, Tensor]:
        """What inputs (n, inputs) and outputs (n, outputs) are multiplied with; the activation's gain is inside."""
        style = self.affine(w)
        epsilon = self.epsilon.to(style.dtype)
        if normalise:
            largest = style.abs().amax(1, keepdim=True).clamp(min=EPSILON)
            style, epsilon = style / largest, epsilon / largest.square()
        power = style.square() @ self.power.to(style.dtype) / self.fan_in  # (n, outputs)
        return style, GAIN * torch.rsqrt(power + epsilon)


class ToRGB(nn.Module):
    """Modulated 1 x 1 convolution to pictures, added to the doubled pictures of the block before.

    It has so few outputs that weights per picture are cheaper than a scaled copy of the input. Pictures add up in
    float32 whatever the weights' precision.

    Args:
        tensors: of this layer: ``conv.weight`` (channels, inputs, 1, 1), ``conv.modulation.*``, ``bias``.
        upsample: there are pictures of a block before; ``upsample.kernel`` doubles them.
        clamp: largest magnitude that is added, or None.
    """

    weight: Tensor
    bias: Tensor
    filter: Tensor

    def __init__(self, tensors: Tensors, *, upsample: bool = True, clamp: float | None = None) -> None:
        super().__init__()
        weight = tensors.take("conv.weight", -1, -1, 1, 1)[:, :, 0, 0]
        self.outputs, self.inputs = weight.shape
        self.affine, self.clamp = Affine(tensors.under("conv."), self.inputs), clamp
        self.register_buffer("weight", weight / sqrt(self.inputs))
        self.register_buffer("bias", tensors.take("bias", self.outputs, 1, 1)[None].flatten(2))
        if upsample:
            self.register_buffer("filter", fir(tensors.under("upsample.")).repeat(self.outputs, 1, 1, 1))

    def forward(self, x: Tensor, w: Tensor, pictures: Tensor | None = None) -> Tensor:
        weight = (self.weight * self.affine(w)[:, None]).to(x.dtype)  # (n, outputs, inputs)
        rgb = torch.baddbmm(self.bias, weight, x.flatten(2)).unflatten(2, x.shape[2:])
        if self.clamp is not None:
            rgb = rgb.clamp(-self.clamp, self.clamp)
        rgb = rgb.float() if rgb.dtype in HALF else rgb
        if pictures is None:
            return rgb
        kernel = self.filter.to(pictures.dtype)
        return rgb + F.conv_transpose2d(pictures, kernel, stride=2, padding=1, groups=self.outputs)


def fir(tensors: Tensors) -> Tensor:
    """The filter ``kernel`` (4, 4) that follows doubling, scaled to a sum of 4; [1, 3, 3, 1] when there is none."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = tensors.take("kernel", 4, 4) if "kernel" in tensors else torch.outer(row, row)
    return kernel * (4 / kernel.sum())


class Synthesis(nn.Module):
    """Codes (n, layers, dim) to pictures (n, channels, H, W).

    Args:
        tensors: of the whole network.
        dim: of the codes.
        clamp: largest magnitude after an activation and of what is added to pictures, or None.
    """

    input: Tensor

    def __init__(self, tensors: Tensors, dim: int, clamp: float | None) -> None:
        super().__init__()
        self.register_buffer("input", tensors.take("input.input", -1, -1, -1)[None].clone())
        blocks = max(tensors.count(r"to_rgbs\.(\d+)\."), (tensors.count(r"convs\.(\d+)\.") + 1) // 2)
        names = ["conv1", *(f"convs.{i}" for i in range(2 * blocks))]
        rgb_names = ["to_rgb1", *(f"to_rgbs.{i}" for i in range(blocks))]
        of = [tensors.under(f"{name}.") for name in (*names, *rgb_names)]
        convs = [StyledConv(t, upsample=i % 2 == 1, clamp=clamp) for i, t in enumerate(of[: len(names)])]
        to_rgbs = [ToRGB(t, upsample=i > 0, clamp=clamp) for i, t in enumerate(of[len(names) :])]
        for name, layer in zip((*names, *rgb_names), (*convs, *to_rgbs), strict=True):
            if layer.affine.dim != dim:
                raise ValueError(f"{name} takes codes of {layer.affine.dim} numbers, and the mapping makes {dim}")
        self.convs, self.to_rgbs = nn.ModuleList(convs), nn.ModuleList(to_rgbs)
        height, width = self.input.shape[2:]
        factors = [2 ** ((i + 1) // 2) for i in range(len(names))]
        self.sizes = [(int(height) * factor, int(width) * factor) for factor in factors]
        self.channels = to_rgbs[-1].outputs
        sides = [max(size) for size in self.sizes]
        slots = [Slot(*of) for of in zip(names, sides, (conv.inputs for conv in convs), strict=True)]
        # Pictures' layers share the slot of the convolution after them; the last one has its own.
        self.slots = (*slots, Slot(rgb_names[-1], sides[-1], to_rgbs[-1].inputs))
        self._take_noise(tensors, names)

    def _take_noise(self, tensors: Tensors, names: list[str]) -> None:
        quiet = [name for name in names if f"{name}.noise.weight" not in tensors]
        self.noisy = not quiet
        if quiet and quiet != names:
            raise ValueError(f"{quiet[0]}.noise.weight is missing")
        self.stored_noise = self.noisy and tensors.count(r"noises\.noise_(\d+)") > 0
        for i, size in enumerate(self.sizes) if self.stored_noise else ():
            self.register_buffer(f"noise_{i}", tensors.take(f"noises.noise_{i}", 1, *size)[None].clone())

    def forward(self, codes: Tensor, content: Tensor | None, noise: str | int) -> Tensor:
        maps = self._noise(noise)
        x = self.input.expand(len(codes), -1, -1, -1)
        pictures: Tensor | None = None
        for i, conv in enumerate(self.convs):
            x = conv(x, codes[:, i], maps[i], spare=i > 0)
            if i % 2 == 0:
                pictures = self.to_rgbs[i // 2](x, codes[:, i + 1], pictures)
        assert pictures is not None
        return pictures

    def _noise(self, noise: str | int) -> list[Tensor | None]:
        """A map (1, 1, h, w) or None for each convolution."""
        if noise == "none" or not self.noisy:
            return [None] * len(self.convs)
        if noise == "stored" and self.stored_noise:
            return [self.get_buffer(f"noise_{i}") for i in range(len(self.convs))]
        random = torch.Generator().manual_seed(0 if noise == "stored" else int(noise))
        return [torch.randn(1, 1, *size, generator=random).to(self.input) for size in self.sizes]


class StyleGAN2(Network):
    """A StyleGAN2; build it with :func:`stylegan2`."""

    channels_last = True

    def __init__(self, mapping: StyleMapping, synthesis: Synthesis, style_weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.mapping, self.synthesis = mapping, synthesis
        self._style_weights = dict(style_weights)

    def style_weights(self) -> dict[str, Tensor]:
        """Weights (m, dim) by module name under the file's own names, in the official SeFa's selection."""
        return self._style_weights


def stylegan2(
    tensors: Mapping[str, Tensor],
    *,
    style_weights: Mapping[str, Tensor],
    slots: Sequence[Slot] | None = None,
    mean: Tensor | None = None,
    labels: int = 0,
    conv_clamp: float | None = None,
    notes: Sequence[str] = (),
) -> Network:
    """A StyleGAN2 filled with float32 tensors under rosinality's names; sizes and depths come from their shapes.

    ``style.{1..n}.weight``, ``.bias`` (stored without the factor 0.01), ``embed.weight``, ``.bias`` of a conditional
    network, ``input.input``, ``conv1.*``, ``to_rgb1.*``, ``convs.{k}.*``, ``to_rgbs.{k}.*``, ``noises.noise_{i}``.
    Modulation biases hold their 1; filters ``convs.{k}.conv.blur.kernel`` may be left out.

    Args:
        tensors: by name.
        style_weights: for SeFa, under the file's own names.
        slots: when the file has other names for them.
        mean: mean code (dim,).
        labels: classes; those of ``embed.weight`` when 0.
        conv_clamp: largest magnitude after an activation and of what is added to pictures; None for no limit.
        notes: lines that ``info`` shows.

    Raises:
        ValueError: a tensor is missing or has another shape, and which.
    """
    named = Tensors(tensors)
    mapping, z_dim, dim = _mapping(named)
    synthesis = Synthesis(named, dim, conv_clamp)
    network = StyleGAN2(mapping, synthesis, style_weights)
    network.z_dim, network.dim, network.mean = z_dim, dim, mean
    network.labels = labels or (named.take("embed.weight", -1, -1).shape[1] if "embed.weight" in named else 0)
    network.slots = synthesis.slots if slots is None else tuple(slots)
    if len(network.slots) != len(synthesis.slots):
        raise ValueError(f"{len(network.slots)} slots are named for {len(synthesis.slots)}")
    network.picture_size, network.channels = synthesis.sizes[-1], synthesis.channels
    network.resolution = max(network.picture_size)
    seeded = "the file holds no noise maps; noise 'stored' uses those of seed 0"
    network.notes = (*notes, *([seeded] if synthesis.noisy and not synthesis.stored_noise else []))
    return network


def _mapping(tensors: Tensors) -> tuple[StyleMapping, int, int]:
    """The mapping, its z_dim and dim."""
    layers = linear_layers(tensors.under("style."), first=1)
    embed: list[Tensor] = []
    if "embed.weight" in tensors:
        weight = tensors.take("embed.weight", -1, -1)
        embed = [weight, tensors.take("embed.bias", weight.shape[0])]
    z_dim = layers[0][0].shape[1] - (embed[0].shape[0] if embed else 0)
    return StyleMapping(layers, embed=embed), z_dim, layers[-1][0].shape[0]


def linear_layers(tensors: Tensors, *, first: int) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases numbered from ``first`` on, each as wide as the one before is high; at least one."""
    layers: list[tuple[Tensor, Tensor]] = []
    for i in range(first, max(tensors.count(r"(\d+)\.weight"), first + 1)):
        weight = tensors.take(f"{i}.weight", -1, layers[-1][0].shape[0] if layers else -1)
        layers.append((weight, tensors.take(f"{i}.bias", weight.shape[0])))
    return layers
