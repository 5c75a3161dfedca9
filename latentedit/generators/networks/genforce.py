"""StyleGAN and ProGAN, filled with weights under the names of genforce's PyTorch code.

* StyleGAN: Karras et al., "A Style-Based Generator Architecture for Generative Adversarial Networks" (2019).
* ProGAN: Karras et al., "Progressive Growing of GANs for Improved Quality, Stability, and Variation" (2018).

Names, gains and orders of operation are those of github.com/genforce/sefa and genforce/interfacegan. Up-sampling
and the convolution after it are one transposed convolution here, whose kernel is the sum of four shifted copies.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.generators.networks.base import Network, Slot

Take = Callable[..., Tensor]
"""``take(name, *shape)``: a tensor of the file; None in the shape stands for any number."""


def pixel_norm(x: Tensor) -> Tensor:
    """Divide (n, c, ...) by the root mean square over c."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


def up_kernel(weight: Tensor, *, fused: bool) -> Tensor:
    """Kernel (in, out, 4, 4) that doubles the side, from a convolution's (out, in, 3, 3).

    Args:
        weight: of the convolution.
        fused: the weight was trained in a transposed convolution, which flips it; else after up-sampling.
    """
    padded = F.pad(weight if fused else weight.flip((2, 3)), (1, 1, 1, 1)).transpose(0, 1)
    rows = padded[:, :, 1:] + padded[:, :, :-1]
    return rows[..., 1:] + rows[..., :-1]


def noise_maps(stored: Sequence[Tensor], noise: str | int) -> list[Tensor] | list[None]:
    """The stored noise, none, or fresh noise of its shapes from a seed; the same for every picture of a batch."""
    if noise == "none":
        return [None] * len(stored)
    if noise == "stored":
        return list(stored)
    random = torch.Generator().manual_seed(int(noise))
    return [torch.randn(map_.shape, generator=random).to(map_) for map_ in stored]


class Mapping(nn.Module):
    """z, and a class if there are some, to codes: (n, z_dim) -> (n, dim).

    Args:
        take: the file's tensors.
        depth: number of layers.
        gain: of the weights' initialisation; sqrt 2 in StyleGAN, 1 in StyleGAN2.
        scale: after the activation; 1 in StyleGAN, sqrt 2 in StyleGAN2.
        label_weight: (labels, z_dim), or None.
    """

    rate = 0.01  # learning rate multiplier, which the stored weights were divided by

    def __init__(self, take: Take, depth: int, gain: float, scale: float, label_weight: Tensor | None) -> None:
        super().__init__()
        self.scale = scale
        self.label_weight = None if label_weight is None else nn.Parameter(label_weight)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        width = None
        for i in range(depth):
            weight = take(f"mapping.dense{i}.weight", None, width)
            self.weights.append(nn.Parameter(weight * (gain * self.rate / sqrt(weight.shape[1]))))
            self.biases.append(nn.Parameter(take(f"mapping.dense{i}.bias", len(weight)) * self.rate))
            width = len(weight)
        self.dim = len(self.biases[-1])
        self.z_dim = self.weights[0].shape[1] - (0 if label_weight is None else label_weight.shape[1])

    def forward(self, z: Tensor, one_hot: Tensor | None) -> Tensor:
        if self.label_weight is not None and one_hot is not None:
            z = torch.cat([z, one_hot.to(z) @ self.label_weight], 1)
        x = pixel_norm(z)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = F.leaky_relu(F.linear(x, weight, bias), 0.2) * self.scale
        return x


class StyledLayer(nn.Module):
    """Convolution or constant, noise, bias, leaky ReLU, instance norm; then the style scales and shifts.

    Args:
        take: the file's tensors.
        index: of the layer; each second one doubles the side.
        inputs: channels that come in.
        dim: numbers of a code.
        first: height and width of the constant.
        fused: see :func:`up_kernel`.
        blur: stored kernel (c, 1, 3, 3), or None for (1, 2, 1).
    """

    def __init__(
        self, take: Take, index: int, inputs: int | None, dim: int, *, first: tuple[int, int], fused: bool,
        blur: Tensor | None,
    ) -> None:  # fmt: skip
        super().__init__()
        name, self.up = f"synthesis.layer{index}", index % 2 == 0 and index > 0
        if index == 0:
            weight = take(f"{name}.const", 1, None, *first)
            channels = weight.shape[1]
        else:
            weight = take(f"{name}.weight", None, inputs, 3, 3)
            channels = len(weight)
            weight = weight * (sqrt(2.0) / sqrt(weight[0].numel()))
        self.weight = nn.Parameter(up_kernel(weight, fused=fused) if self.up else weight)
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.blur = nn.Parameter(torch.outer(row, row)[None, None] if blur is None else blur[:1])
        self.bias = nn.Parameter(take(f"{name}.bias", channels))
        height, width = (side * 2 ** (index // 2) for side in first)
        self.channels, self.size = channels, (height, width)
        self._take_noise(take, f"{name}.apply_noise")
        self.style = nn.Parameter(take(f"{name}.style.weight", 2 * channels, dim) / sqrt(dim))
        self.style_bias = nn.Parameter(take(f"{name}.style.bias", 2 * channels))

    def _take_noise(self, take: Take, name: str) -> None:
        """One value a pixel times one a channel, or, in some files of genforce, the other way round."""
        strength = take(f"{name}.weight")
        if strength.ndim == 1:
            noise = take(f"{name}.noise", 1, 1, *self.size)
            strength = take(f"{name}.weight", self.channels)[None, :, None, None]
        else:
            noise = take(f"{name}.noise", 1, self.channels, 1, 1)
            strength = take(f"{name}.weight", *self.size)[None, None]
        self.noise, self.strength = nn.Parameter(noise), nn.Parameter(strength)

    def forward(self, x: Tensor | None, w: Tensor, noise: Tensor | None) -> Tensor:
        if x is None:
            x = self.weight.expand(len(w), -1, -1, -1)
        elif self.up:
            x = F.conv_transpose2d(x, self.weight, stride=2, padding=1)
            x = F.conv2d(x, self.blur.expand(self.channels, -1, -1, -1), padding=1, groups=self.channels)
        else:
            x = F.conv2d(x, self.weight, padding=1)
        if noise is not None:
            x = x + noise * self.strength
        x = F.leaky_relu(x + self.bias[:, None, None], 0.2)
        x = F.instance_norm(x, eps=1e-8)
        scale, shift = F.linear(w, self.style, self.style_bias)[:, :, None, None].chunk(2, 1)
        return x * (scale + 1) + shift


class StyleGANSynthesis(nn.Module):
    """Codes (n, layers, dim) to pictures (n, 3, H, W): the styled layers and the last output, at full size."""

    def __init__(self, layers: Sequence[StyledLayer], weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.weight, self.bias = nn.Parameter(weight / sqrt(weight.shape[1])), nn.Parameter(bias)

    def forward(self, codes: Tensor, content: Tensor | None, noise: str | int) -> Tensor:
        maps = noise_maps([self.get_parameter(f"layers.{i}.noise") for i in range(len(self.layers))], noise)
        x = None
        for i, layer in enumerate(self.layers):
            x = layer(x, codes[:, i], maps[i])
        assert x is not None
        return F.conv2d(x, self.weight, self.bias)


class StyleGAN(Network):
    """StyleGAN; a slot is a layer.

    Args:
        take: the file's tensors.
        depth: number of layers, two a resolution.
        mapping_depth: number of layers of the mapping.
        fused: layers with a transposed convolution.
        blurs: stored blur kernels by layer.
        label_weight: see :class:`Mapping`.
    """

    def __init__(
        self, take: Take, *, depth: int, mapping_depth: int, fused: Collection[int], blurs: dict[int, Tensor],
        label_weight: Tensor | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.mapping = Mapping(take, mapping_depth, sqrt(2.0), 1.0, label_weight)
        self.z_dim, self.dim = self.mapping.z_dim, self.mapping.dim
        self.labels = 0 if label_weight is None else len(label_weight)
        self.mean = take("truncation.w_avg", self.dim)
        layers: list[StyledLayer] = []
        height, width = take("synthesis.layer0.const", 1, None, None, None).shape[2:]
        for i in range(depth):
            inputs = layers[-1].channels if layers else None
            blur = blurs.get(i)
            layers.append(StyledLayer(take, i, inputs, self.dim, first=(height, width), fused=i in fused, blur=blur))
        self.picture_size, self.resolution = layers[-1].size, max(layers[-1].size)
        self.slots = tuple(Slot(f"layer{i}", max(layer.size), 2 * layer.channels) for i, layer in enumerate(layers))
        output = f"synthesis.output{depth // 2 - 1}"
        weight = take(f"{output}.weight", None, layers[-1].channels, 1, 1)
        self.channels = len(weight)
        self.synthesis = StyleGANSynthesis(layers, weight, take(f"{output}.bias", len(weight)))
        self._styles = {f"synthesis.layer{i}.style": take(f"synthesis.layer{i}.style.weight") for i in range(depth)}

    def style_weights(self) -> dict[str, Tensor]:
        """Both halves, scale and shift, of every layer's style weight (2 channels, dim)."""
        return dict(self._styles)


class ProGANSynthesis(nn.Module):
    """Codes (n, 1, dim), of any length, and classes (n, labels) to pictures (n, 3, H, W)."""

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(weight) for weight in weights)
        self.biases = nn.ParameterList(nn.Parameter(bias) for bias in biases)

    def forward(self, codes: Tensor, content: Tensor | None, noise: str | int) -> Tensor:
        x = pixel_norm(codes[:, 0])
        x = (x if content is None else torch.cat([x, content], 1))[:, :, None, None]
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = pixel_norm(x)
            if i == 0:
                x = F.conv2d(x, weight, bias, padding=3)
            elif i == last:
                return F.conv2d(x, weight, bias)
            elif i % 2 == 0:
                x = F.conv_transpose2d(x, weight, bias, stride=2, padding=1)
            else:
                x = F.conv2d(x, weight, bias, padding=1)
            x = F.leaky_relu(x, 0.2)
        raise AssertionError("a network without an output")


class ProGAN(Network):
    """ProGAN: the code is z on the sphere of radius sqrt(dim), and the network ignores its length.

    Args:
        take: the file's tensors.
        depth: number of layers, two a resolution.
        labels: how many of the first layer's last inputs are a one-hot class.
        name: of the first layer in the file.
    """

    def __init__(self, take: Take, *, depth: int, labels: int, name: str) -> None:
        super().__init__()
        first = take("layer0.weight", None, None, 4, 4)
        self.labels, self.label_in_decoder = labels, labels > 0
        self.z_dim = self.dim = first.shape[1] - labels
        self.mapping = _on_sphere
        self.mean = torch.zeros(self.dim)
        self.resolution = 4 * 2 ** (depth // 2 - 1)
        self.slots = (Slot(name, 4, len(first)),)
        rows = first.flip((2, 3)).permute(0, 2, 3, 1).flatten(0, 2)  # (channels x positions, inputs)
        self._styles = {name: rows[:, : self.dim].clone()}
        weights, biases = [first * (sqrt(2.0) / sqrt(first[0].numel()))], [take("layer0.bias", len(first))]
        channels = len(first)
        for i in range(1, depth):
            weight = take(f"layer{i}.weight", None, None, 3, 3)
            fused = i % 2 == 0 and weight.shape[1] != channels
            weight = weight.transpose(0, 1) if fused else take(f"layer{i}.weight", None, channels, 3, 3)
            weight = weight * (sqrt(2.0) / sqrt(weight[0].numel()))
            channels = len(weight)
            weights.append(up_kernel(weight, fused=fused) if i % 2 == 0 else weight)
            biases.append(take(f"layer{i}.bias", channels))
        output = f"output{depth // 2 - 1}"
        weight = take(f"{output}.weight", None, channels, 1, 1)
        self.channels = len(weight)
        self.synthesis = ProGANSynthesis(
            [*weights, weight / sqrt(channels)], [*biases, take(f"{output}.bias", len(weight))]
        )
        self.notes = ("truncation shortens codes, and the network ignores their length",)

    def style_weights(self) -> dict[str, Tensor]:
        """The first layer's weight (channels x positions, dim), flipped as in the official SeFa."""
        return dict(self._styles)


def _on_sphere(z: Tensor, one_hot: Tensor | None) -> Tensor:
    return pixel_norm(z)
