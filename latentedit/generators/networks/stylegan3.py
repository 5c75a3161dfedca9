"""StyleGAN3's networks in plain PyTorch, with the names of tensors that NVIDIA's files have.

T. Karras et al., "Alias-Free Generative Adversarial Networks", NeurIPS 2021; names, constants and the order of
operations are those of github.com/NVlabs/stylegan3 (training/networks_stylegan3.py). Its custom filtered leaky
ReLU is here three steps: up-sampling and down-sampling by a separable filter are products with banded matrices, in
blocks, which is exact and faster than depthwise convolutions; a radial filter is a depthwise convolution.

Layer names and shapes give sizes, channels and filters; :class:`Settings` is what they do not give. Up and down
factors are the lengths of the filters over ``filter_size``, so that all sampling rates follow from the last one,
which is the resolution.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.generators.networks.base import Network, Slot
from latentedit.generators.networks.stylegan2 import MAPPING_RATE, StyleMapping, Tensors, linear_layers

BLOCK = 64
"""Rows of a banded matrix that are multiplied at once."""
_NAME = re.compile(
    r"mapping\.(w_avg|(embed|fc\d+)\.(weight|bias))"
    r"|synthesis\.input\.(weight|transform|freqs|phases|affine\.(weight|bias))"
    r"|synthesis\.L\d+_\d+_\d+\.(weight|bias|magnitude_ema|up_filter|down_filter|affine\.(weight|bias))"
)
_OBLONG = re.compile(r"synthesis\.L\d+_\d+[_x]\d+_\d+\.")
_LARGEST = 10_000  # pixels a side; more is no picture, and a name alone must not take memory
_LAYER = re.compile(r"synthesis\.(L\d+_\d+_\d+)\.")


@dataclass(frozen=True)
class Settings:
    """Constructor arguments that neither names nor shapes tell; the defaults are the official ones.

    Attributes:
        conv_clamp: every layer's output is cut to plus and minus this; None for no cut.
        output_scale: factor on the picture.
        first_cutoff: bandwidth of the Fourier features.
        filter_size: taps of a filter per up- or down-sampling factor.
        lr_multiplier: factor on the mapping's stored weights and biases.
    """

    conv_clamp: float | None = 256.0
    output_scale: float = 0.25
    first_cutoff: float = 2.0
    filter_size: int = 6
    lr_multiplier: float = 0.01


class LayerName(NamedTuple):
    """``L{index}_{size}_{channels}``."""

    name: str
    size: int
    channels: int


def layer_names(tensors: Mapping[str, Tensor]) -> list[LayerName]:
    """The layers in order.

    Raises:
        ValueError: there are fewer than two, one is missing between others, or a name makes no sense.
    """
    names = dict.fromkeys(m[1] for m in map(_LAYER.match, tensors) if m)
    layers = [LayerName(name, int(size), int(channels)) for name in names for _, size, channels in [name.split("_")]]
    found = {int(layer.name[1:].partition("_")[0]): layer for layer in layers}
    if len(found) < 2 or sorted(found) != list(range(len(found))):
        missing = next(i for i in range(len(found) + 2) if i not in found)
        raise ValueError(f"synthesis layer L{missing} is missing")
    if len(layers) > len(found):
        raise ValueError("two synthesis layers have the same number")
    if (largest := max(found.values(), key=lambda layer: layer.size)).size > _LARGEST:
        raise ValueError(f"synthesis.{largest.name} claims pictures of {largest.size} pixels a side")
    return [found[i] for i in range(len(found))]


class Geometry(NamedTuple):
    """How a layer changes the sampling; (out - 1) down + 1 samples are left between the two filters' taps."""

    up: int
    down: int
    in_size: int
    out_size: int
    before: int
    """Samples added in front of the up-sampled signal; negative when cut off."""
    middle: int
    """Length at the rate of the leaky ReLU, after the up-sampling filter."""


def geometry(in_size: int, out_size: int, kernel: int, up_taps: int, down_taps: int, filter_size: int) -> Geometry:
    """Sampling of a layer from its sizes and filters (Karras et al. 2021, appendix C.3).

    Raises:
        ValueError: the taps are no multiple of the filter size.
    """
    if any(taps != 1 and taps % filter_size for taps in (up_taps, down_taps)):
        raise ValueError(f"filters of {up_taps} and {down_taps} taps are no multiples of filter_size {filter_size}")
    up, down = max(1, up_taps // filter_size), max(1, down_taps // filter_size)
    length = (in_size + kernel - 1) * up
    total = (out_size - 1) * down + 1 - length + up_taps + down_taps - 2
    return Geometry(up, down, in_size, out_size, (total + up) // 2, length + total - up_taps + 1)


class Resample(nn.Module):
    """Up-sampling by zeros, padding, and a filter, then every ``down``-th sample, along both axes of a picture.

    Each axis is a product with a banded matrix: sample n of the output is the sum over i of
    ``taps[n * down + len(taps) - 1 - before - i * up]`` times sample i of the input.
    """

    def __init__(
        self, taps: Tensor, in_size: int, out_size: int, *, up: int = 1, down: int = 1, before: int = 0, gain: float = 1
    ) -> None:
        super().__init__()
        self.spans: list[tuple[int, int]] = []
        shift = len(taps) - 1 - before
        for b, start in enumerate(range(0, out_size, BLOCK)):
            end = min(start + BLOCK, out_size)
            low = min(max(0, -((before - start * down) // up)), in_size - 1)
            high = max(min(in_size, ((end - 1) * down + shift) // up + 1), low + 1)
            n, i = torch.arange(start, end)[:, None], torch.arange(low, high)
            k = n * down + shift - i * up  # (rows, columns)
            inside = (k >= 0) & (k < len(taps))
            rows = torch.where(inside, taps[k.clamp(0, len(taps) - 1)] * gain, 0.0)
            self.spans.append((low, high))
            self.register_buffer(f"block{b}", rows)

    def forward(self, x: Tensor) -> Tensor:
        blocks = [(self.get_buffer(f"block{b}"), low, high) for b, (low, high) in enumerate(self.spans)]
        x = torch.cat([x[..., low:high] @ m.t() for m, low, high in blocks], -1)
        return torch.cat([m @ x[..., low:high, :] for m, low, high in blocks], -2)


class Radial(nn.Module):
    """Filter of two dimensions, then every ``down``-th sample."""

    def __init__(self, taps: Tensor, down: int) -> None:
        super().__init__()
        self.down = down
        self.register_buffer("taps", taps.flip(0, 1)[None, None].clone())

    def forward(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        return F.conv2d(x, self.get_buffer("taps").expand(c, -1, -1, -1), stride=self.down, groups=c)


class FourierInput(nn.Module):
    """Codes (n, dim) to the first feature maps (n, channels, size, size), rotated and shifted as each code says."""

    def __init__(self, tensors: Tensors, dim: int, size: int, sampling_rate: float, bandwidth: float) -> None:
        super().__init__()
        name = "synthesis.input"
        freqs = tensors.take(f"{name}.freqs", -1, 2)
        self.channels = len(freqs)
        self.sampling_rate, self.bandwidth = sampling_rate, bandwidth
        weight = tensors.take(f"{name}.weight", self.channels, self.channels)
        self.register_buffer("weight", (weight / math.sqrt(self.channels))[..., None, None])
        # Plain attributes: a change of the network's precision must not reach phases, whose errors are rotations.
        self.freqs, self.phases = freqs, tensors.take(f"{name}.phases", self.channels)  # (c, 2), (c,)
        self.transform = tensors.take(f"{name}.transform", 3, 3)
        self.affine_weight = tensors.take(f"{name}.affine.weight", 4, dim) / math.sqrt(dim)
        self.affine_bias = tensors.take(f"{name}.affine.bias", 4)
        self.positions = (torch.arange(size) + 0.5 - size / 2) / sampling_rate

    def forward(self, w: Tensor) -> Tensor:
        weight = self.get_buffer("weight")
        like = w.to(torch.promote_types(weight.dtype, torch.float32))
        freqs, phases, positions = self.freqs.to(like), self.phases.to(like), self.positions.to(like)
        transform = self._rotation_and_shift(like) @ self.transform.to(like)  # (n, 3, 3)
        phases = phases + (freqs @ transform[:, :2, 2:]).squeeze(2)  # (n, c)
        freqs = freqs @ transform[:, :2, :2]  # (n, c, 2)
        slack = self.sampling_rate / 2 - self.bandwidth
        amplitudes = (1 - (freqs.norm(dim=2) - self.bandwidth) / slack).clamp(0, 1)  # (n, c)
        across = freqs[:, :, None, None, 0] * positions  # (n, c, 1, w)
        along = freqs[:, :, None, None, 1] * positions[:, None] + phases[:, :, None, None]  # (n, c, h, 1)
        waves = torch.sin((across + along) * (2 * math.pi)) * amplitudes[:, :, None, None]
        return F.conv2d(waves.to(weight), weight)

    def _rotation_and_shift(self, w: Tensor) -> Tensor:
        """(n, dim) to the inverse of each code's rotation and translation, (n, 3, 3)."""
        t = F.linear(w, self.affine_weight.to(w), self.affine_bias.to(w))
        cos, sin, x, y = (t / t[:, :2].norm(dim=1, keepdim=True)).unbind(1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        rotation = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], 1).view(-1, 3, 3)
        shift = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], 1).view(-1, 3, 3)
        return rotation @ shift


class Layer(nn.Module):
    """Modulated convolution, bias and filtered leaky ReLU; the last one, ``picture``, only convolves and adds a bias.

    The kernels are kept with unit norm per output channel, and demodulation divides by what the style makes of
    that norm: all factors stay near 1, and sums far from the largest number of half precision.
    """

    def __init__(
        self, tensors: Tensors, at: LayerName, dim: int, in_channels: int, shape: Geometry, settings: Settings,
        *, picture: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        name = f"synthesis.{at.name}"
        weight = tensors.take(f"{name}.weight", at.channels, in_channels, -1, -1)
        magnitude = float(tensors.take(f"{name}.magnitude_ema"))
        if not magnitude > 0:
            raise ValueError(f"{name}.magnitude_ema is {magnitude:g}, and only a positive mean square has a meaning")
        fan_in = weight[0].numel()
        norm = weight.square().sum((1, 2, 3), keepdim=True).sqrt()
        kernel = weight / math.sqrt(fan_in) if picture else weight / norm.clamp_min(1e-20)
        self.picture, self.clamp, self.input_gain = picture, settings.conv_clamp, magnitude**-0.5
        self.padding, self.epsilon = weight.shape[2] - 1, 1e-8 / fan_in
        self.register_buffer("kernel", kernel)
        self.register_buffer("power", kernel.square().sum((2, 3)))  # (out, in)
        self.register_buffer("bias", tensors.take(f"{name}.bias", len(weight))[:, None, None].clone())
        self.register_buffer("affine_weight", tensors.take(f"{name}.affine.weight", in_channels, dim) / math.sqrt(dim))
        self.register_buffer("affine_bias", tensors.take(f"{name}.affine.bias", in_channels).clone())
        if picture:
            return
        up_taps, down_taps = _taps(tensors, f"{name}.up_filter"), _taps(tensors, f"{name}.down_filter")
        in_size = shape.in_size + self.padding
        gain = shape.up * 2**0.25  # on both axes: up^2, and the leaky ReLU's sqrt(2)
        self.up = Resample(up_taps, in_size, shape.middle, up=shape.up, before=shape.before, gain=gain)
        self.down = (
            Radial(down_taps, shape.down) if down_taps.ndim == 2
            else Resample(down_taps, shape.middle, shape.out_size, down=shape.down)
        )  # fmt: skip

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        kernel, bias = self.get_buffer("kernel"), self.get_buffer("bias")
        scales, norms = self._styles(w.to(torch.promote_types(kernel.dtype, torch.float32)))
        x = F.conv2d(x * scales.to(x)[:, :, None, None], kernel, padding=self.padding)
        x = torch.addcmul(bias, x, norms.to(x)[:, :, None, None])
        if self.picture:
            return self._cut(x)
        return self.down(self._cut(F.leaky_relu(self.up(x), 0.2, inplace=True)))

    def _cut(self, x: Tensor) -> Tensor:
        """Clamped, in the same memory when no gradient needs it."""
        if self.clamp is None:
            return x
        return torch.clamp(x, -self.clamp, self.clamp, out=None if torch.is_grad_enabled() else x)

    def _styles(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (n, dim) to factors on the inputs (n, in) and on the outputs (n, out) of the convolution."""
        styles = F.linear(w, self.get_buffer("affine_weight").to(w), self.get_buffer("affine_bias").to(w))
        if self.picture:
            return styles, w.new_full((1, len(self.get_buffer("kernel"))), self.input_gain)
        styles = styles * styles.square().mean(1, keepdim=True).rsqrt()
        norms = (styles.square() @ self.get_buffer("power").to(w).t() + self.epsilon).rsqrt()
        return styles, norms * self.input_gain


def _taps(tensors: Tensors, name: str) -> Tensor:
    """A filter; one of length 1 changes nothing and is not in the file."""
    taps = tensors.tensors[name] if name in tensors else torch.ones(1)
    if taps.ndim not in (1, 2) or (taps.ndim == 2 and taps.shape[0] != taps.shape[1]) or not taps.numel():
        raise ValueError(f"{name} has shape {tuple(taps.shape)}; a filter is a row or a square")
    if taps.ndim == 2 and name.endswith("up_filter"):
        raise ValueError(f"{name} has two dimensions; only down-sampling filters are radial")
    return taps


class Synthesis(nn.Module):
    """Codes (n, layers + 2, dim) to pictures (n, channels, resolution, resolution)."""

    def __init__(self, first: FourierInput, layers: list[Layer], output_scale: float) -> None:
        super().__init__()
        self.input, self.layers, self.output_scale = first, nn.ModuleList(layers), output_scale

    def forward(self, codes: Tensor, content: Tensor | None, noise: str | int) -> Tensor:
        first, *others = codes.unbind(1)
        x = self.input(first)
        for layer, w in zip(self.layers, others, strict=True):
            x = layer(x, w)
        return x * self.output_scale


class StyleGAN3(Network):
    """A generator of NVlabs/stylegan3, configuration t or r.

    Args:
        tensors: float32, under the official names.
        settings: what they do not tell.
        notes: lines for ``info``.

    Raises:
        ValueError: a tensor is missing, has another shape, or is none of this network's.
    """

    def __init__(self, tensors: Mapping[str, Tensor], settings: Settings, notes: tuple[str, ...] = ()) -> None:
        super().__init__()
        if other := [name for name in tensors if not _NAME.fullmatch(name)]:
            if _OBLONG.match(other[0]):
                raise ValueError(
                    f"{other[0]} is of pictures that are not square; of StyleGAN3 square ones are supported"
                )
            raise ValueError(f"{other[0]} is no part of StyleGAN3 ({len(other)} such tensors)")
        held, names = Tensors(tensors), layer_names(tensors)
        self.dim = held.take(f"synthesis.{names[0].name}.affine.weight", -1, -1).shape[1]
        self.resolution, self.channels, self.notes = names[-1].size, names[-1].channels, notes
        self.synthesis = _synthesis(held, names, self.dim, settings)
        layers = linear_layers(held.under("mapping.fc"), first=0)
        if held.count(r"mapping\.fc(\d+)\.") > len(layers):
            raise ValueError(f"mapping.fc{len(layers)}.weight is missing")
        if layers[-1][0].shape[0] != self.dim:
            raise ValueError(f"the mapping makes codes of {layers[-1][0].shape[0]} numbers where {self.dim} are used")
        embed = []
        if "mapping.embed.weight" in held or "mapping.embed.bias" in held:
            embed = [held.take("mapping.embed.weight", -1, -1), held.take("mapping.embed.bias", -1)]
            self.labels = embed[0].shape[1]
        faster = settings.lr_multiplier / MAPPING_RATE
        self.mapping = StyleMapping([(weight * faster, bias * faster) for weight, bias in layers], embed=embed)
        self.z_dim = layers[0][0].shape[1] - (len(embed[0]) if embed else 0)
        self.mean = held.take("mapping.w_avg", self.dim) if "mapping.w_avg" in held else None
        self._styles = {f"synthesis.{n.name}.affine": tensors[f"synthesis.{n.name}.affine.weight"] for n in names}
        widths = [len(weight) for weight in self._styles.values()]
        self.slots = (
            Slot("input", names[0].size, 4),
            *(Slot(n.name, n.size, width) for n, width in zip(names, widths, strict=True)),
        )

    def style_weights(self) -> dict[str, Tensor]:
        """Affine weights (channels, dim) of all convolutions, the last of which makes the picture."""
        return self._styles


def _synthesis(tensors: Tensors, names: list[LayerName], dim: int, settings: Settings) -> Synthesis:
    shapes = _geometries(tensors, names, settings)
    rate = float(names[-1].size)
    for shape in shapes[::-1]:
        rate = rate * shape.down / shape.up
    if rate / 2 <= settings.first_cutoff:
        raise ValueError(f"first_cutoff {settings.first_cutoff:g} is too high for a sampling rate of {rate:g}")
    first = FourierInput(tensors, dim, names[0].size, rate, settings.first_cutoff)
    layers, channels = [], first.channels
    for name, shape in zip(names, shapes, strict=True):
        layers.append(Layer(tensors, name, dim, channels, shape, settings, picture=name is names[-1]))
        channels = name.channels
    return Synthesis(first, layers, settings.output_scale)


def _geometries(tensors: Tensors, names: list[LayerName], settings: Settings) -> list[Geometry]:
    """Of all layers; the last one neither filters nor changes the size."""
    found, size = [], names[0].size
    for name in names[:-1]:
        kernel = tensors.take(f"synthesis.{name.name}.weight", -1, -1, -1, -1).shape[2]
        taps = [len(_taps(tensors, f"synthesis.{name.name}.{way}_filter")) for way in ("up", "down")]
        found.append(geometry(size, name.size, kernel, taps[0], taps[1], settings.filter_size))
        size = name.size
    if size != names[-1].size:
        raise ValueError(f"synthesis.{names[-1].name} would change the size of {names[-2].name}")
    return [*found, Geometry(1, 1, size, size, 0, size)]
