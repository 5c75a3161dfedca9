"""The networks of the bundled ``avatar`` generator.

Content is *where things are*: a similarity transform (rotation, scale, shift) that a small
network reads off a picture. Style is *who it is*: a code that modulates the convolutions of a
decoder which always draws the face upright in a canonical frame; the transform then places it.

* Modulated convolution: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN"
  (2020), section 2.2.
* Placing a picture by a differentiable transform: Jaderberg et al., "Spatial Transformer
  Networks" (2015).
* Mapping as a flow from N(0, I) to the codes of real pictures: Lipman et al., "Flow Matching for
  Generative Modeling" (2023); Liu et al., "Flow Straight and Fast" (2023).

* Style codes of unit covariance: the codes of training are projected on their principal components and
  whitened, which the weights absorb; Zhu et al., "Improved StyleGAN Embedding: Where are the Good
  Latents?" (2020), section 4. So a regression's coefficients point where codes really vary.

* A decoder works up to 36 x 36, where its head writes 4 x 4 pixels a cell (Shi et al., "Real-Time Single Image and
  Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network", 2016), and finishes at 72 x 72.

A file of weights may hold a decoder without a finish, and the encoder that was trained in place of the smaller one that
was made of it; its names say which (:meth:`latentedit.generators.avatar.AvatarNetworks.of`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Z_DIM = 64
W_DIM = 64
TRAINING_W_DIM = 256
CANONICAL = 144
RESOLUTION = 128
FLOW_STEPS = 24
MIN_LOG_VARIANCE = -3.0


class ModulatedConv(nn.Module):
    """A convolution whose input channels are scaled by a style code, then demodulated."""

    def __init__(self, inputs: int, outputs: int, w_dim: int, *, kernel: int = 3, demodulate: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.affine = nn.Linear(w_dim, inputs)
        nn.init.normal_(self.affine.weight, 0.0, w_dim**-0.5)
        nn.init.ones_(self.affine.bias)
        self.demodulate = demodulate

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w)  # (n, inputs)
        x = F.conv2d(x * style[:, :, None, None], self.weight, padding=self.weight.shape[-1] // 2)
        if self.demodulate:
            exact = torch.promote_types(x.dtype, torch.float32)  # squares of weights are too small for half precision
            power = style.to(exact).square() @ self.weight.to(exact).square().sum((2, 3)).t()  # (n, outputs)
            x = x * torch.rsqrt(power + 1e-8).to(x)[:, :, None, None]
        return x + self.bias[None, :, None, None]


class Finish(nn.Module):
    """Flattens what is flat and draws lines through: pictures (n, 3, 144, 144) and features (n, c, 36, 36) -> pictures.

    It starts as nothing: the last layer is zero until it is trained.
    """

    def __init__(self, features: int, width: int = 32) -> None:
        super().__init__()
        self.features = nn.Conv2d(features, 64, 1)
        self.near = nn.Conv2d(12 + 16, width, 3, padding=1)
        self.far = nn.Conv2d(width, width, 3, padding=2, dilation=2)
        self.change = nn.Conv2d(width, 12, 3, padding=1)
        for parameter in self.change.parameters():
            nn.init.zeros_(parameter)

    def forward(self, picture: Tensor, features: Tensor) -> Tensor:
        x = torch.cat([F.pixel_unshuffle(picture, 2), F.pixel_shuffle(self.features(features), 2)], 1)  # at 72 x 72
        x = F.leaky_relu(self.near(x), 0.2)
        x = F.leaky_relu(self.far(x), 0.2)
        return picture + F.pixel_shuffle(self.change(x), 2)


class Decoder(nn.Module):
    """Style codes, one per slot, to an upright face: (n, slots, w_dim) -> (n, 3, 144, 144)."""

    # (side, inputs, outputs) of each modulated convolution; the head writes 4 x 4 pixels a cell.
    plan = ((9, 192, 192), (9, 192, 192), (18, 192, 160), (18, 160, 128), (36, 128, 96), (36, 96, 80))
    slots = tuple(f"conv{i}" for i in range(len(plan))) + ("to_rgb",)

    def __init__(self, w_dim: int = W_DIM, *, finish: bool = True) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.randn(1, self.plan[0][1], 9, 9) * 0.3)
        self.convs = nn.ModuleList(ModulatedConv(i, o, w_dim) for _, i, o in self.plan)
        self.to_rgb = ModulatedConv(self.plan[-1][2], 48, w_dim, demodulate=False)
        self.finish = Finish(self.plan[-1][2]) if finish else None

    def forward(self, w: Tensor) -> Tensor:
        x = self.const.expand(len(w), -1, -1, -1)
        for i, (conv, (side, _, _)) in enumerate(zip(self.convs, self.plan, strict=True)):
            if x.shape[-1] != side:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = F.leaky_relu(conv(x, w[:, i]), 0.2)
        picture = F.pixel_shuffle(self.to_rgb(x, w[:, -1]), 4)
        return picture if self.finish is None else self.finish(picture, x)


def _block(inputs: int, outputs: int, stride: int = 2) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(8, outputs), nn.LeakyReLU(0.2))


class StyleEncoder(nn.Module):
    """An upright picture to the mean and log-variance of its identity code: (n, 3, 144, 144) -> 2 x (n, Z_DIM).

    One branch sees the whole picture, a finer one eyes and mouth. The variance has a floor, so that the
    decoder learns a region around each code and not a point: edits and samples land between the codes.
    """

    face = (slice(48, 120), slice(20, 108))

    def __init__(self) -> None:
        super().__init__()
        self.whole = nn.Sequential(
            nn.PixelUnshuffle(4), _block(48, 96, 1), _block(96, 128), _block(128, 192), _block(192, 256), nn.Flatten()
        )  # fmt: skip
        self.close = nn.Sequential(
            nn.PixelUnshuffle(2), _block(12, 48, 1), _block(48, 64), _block(64, 96), _block(96, 128), nn.Flatten()
        )  # fmt: skip
        self.head = nn.Linear(256 * 25 + 128 * 30, 2 * Z_DIM)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = self.face
        features = torch.cat([self.whole(x), self.close(x[:, :, rows, columns])], 1)
        mean, log_variance = self.head(features).chunk(2, 1)
        return mean, log_variance.clamp(MIN_LOG_VARIANCE, 2.0)


def _thin_block(inputs: int, middle: int, outputs: int) -> nn.Sequential:
    """As ``_block`` at stride 2, its weights the product of two smaller ones."""
    return nn.Sequential(
        nn.Conv2d(inputs, middle, 3, 2, 1, bias=False), nn.Conv2d(middle, outputs, 1), nn.GroupNorm(8, outputs),
        nn.LeakyReLU(0.2),
    )  # fmt: skip


class StyleReader(nn.Module):
    """The mean of a :class:`StyleEncoder` alone, of a third of its weights: (n, 3, 144, 144) -> (n, Z_DIM)."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = nn.Sequential(
            nn.PixelUnshuffle(4), _block(48, 96, 1), _block(96, 128), _thin_block(128, 64, 192),
            _thin_block(192, 96, 256), nn.Conv2d(256, 64, 1), nn.Flatten(),
        )  # fmt: skip
        self.close = nn.Sequential(
            nn.PixelUnshuffle(2), _block(12, 48, 1), _block(48, 64), _block(64, 96), _thin_block(96, 64, 128),
            nn.Conv2d(128, 48, 1), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(64 * 25 + 48 * 30, Z_DIM)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = StyleEncoder.face
        return self.head(torch.cat([self.whole(x), self.close(x[:, :, rows, columns])], 1))


class PoseEncoder(nn.Module):
    """A picture to its pose (a, b, x, y): (n, 3, 128, 128) -> (n, 4); see :func:`affine`."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.PixelUnshuffle(4), _block(48, 48, 1), _block(48, 64), _block(64, 96), _block(96, 128),
            nn.Flatten(), nn.Linear(128 * 16, 128), nn.LeakyReLU(0.2), nn.Linear(128, 4),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) * 0.2 + x.new_tensor([0.8, 0.0, 0.0, 0.0])


class Flow(nn.Module):
    """Velocity field whose integral carries N(0, I) to the identity codes of real pictures and back."""

    def __init__(self, width: int = 512, depth: int = 4) -> None:
        super().__init__()
        self.time = nn.Linear(32, width)
        self.enter = nn.Linear(Z_DIM, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.leave = nn.Linear(width, Z_DIM)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """Velocity at codes x (n, Z_DIM) and times t (n, 1) in [0, 1]."""
        angles = t * torch.arange(1, 17, device=t.device) * torch.pi
        h = self.enter(x) + self.time(torch.cat([angles.sin(), angles.cos()], 1))
        for layer in self.layers:
            h = h + layer(F.silu(F.layer_norm(h, h.shape[-1:])))
        return self.leave(F.silu(h))

    def forward(self, x: Tensor, *, backward: bool = False) -> Tensor:
        """Midpoint integration from t = 0 to 1, or from 1 to 0: (n, Z_DIM) -> (n, Z_DIM)."""
        step = (-1.0 if backward else 1.0) / FLOW_STEPS
        for i in range(FLOW_STEPS):
            t = x.new_full((len(x), 1), 1.0 + i * step if backward else i * step)
            middle = x + 0.5 * step * self.velocity(x, t)
            x = x + step * self.velocity(middle, t + 0.5 * step)
        return x


class Styler(nn.Sequential):
    """Identity code to style code: (n, Z_DIM) -> (n, w_dim)."""

    def __init__(self, w_dim: int = W_DIM) -> None:
        super().__init__(
            nn.Linear(Z_DIM, 256), nn.LeakyReLU(0.2), nn.Linear(256, 256), nn.LeakyReLU(0.2), nn.Linear(256, w_dim)
        )  # fmt: skip


def affine(pose: Tensor) -> Tensor:
    """Poses (n, 4) to matrices (n, 2, 3) that take output to canonical coordinates, both in [-1, 1]."""
    a, b, x, y = pose.unbind(1)
    return torch.stack([torch.stack([a, -b, x], 1), torch.stack([b, a, y], 1)], 1)


def invert(matrix: Tensor) -> Tensor:
    """Inverse of affine matrices (n, 2, 3)."""
    linear = torch.linalg.inv(matrix[:, :, :2])
    return torch.cat([linear, -linear @ matrix[:, :, 2:]], 2)


def warp(image: Tensor, matrix: Tensor, side: int) -> Tensor:
    """Resample images through affine matrices (n, 2, 3) to side x side pixels, repeating the border."""
    grid = F.affine_grid(matrix, [len(image), image.shape[1], side, side], align_corners=False)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=False)
