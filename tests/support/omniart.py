"""A generator and a tagger that are not ours, reached as ``torch:omniart:eyes`` and ``torch:omniart:colours``.

The generator is the conditional GAN of the OmniArt Eye Dataset (a Master's thesis, University of Amsterdam), whose
weights come inside the PyPI package ``omniart-eye-generator``. The package itself is never imported: only its weight
file is read, as tensors, into the plain definition below.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Z_DIM = 100
COLOURS = ("amber", "blue", "brown", "gray", "grayscale", "green", "hazel", "red")
WIDTHS = (1024, 512, 256, 128, 64)


def weight_file() -> Path | None:
    """The package's weight file, or None when the package is not installed."""
    try:
        package = distribution("omniart-eye-generator")
    except PackageNotFoundError:
        return None
    return Path(str(package.locate_file("omniart_eye_generator/generator_model_state.pth")))


class Eyes(nn.Module):
    """Pictures of painted eyes, 128 x 128, from codes of 100 numbers and the weights of 8 colours.

    The published network takes z and a one-hot colour side by side, so that row is the style code here. A seed's z
    has 8 numbers more, the largest of which chooses the colour; a label fixes it.
    """

    dim = Z_DIM + len(COLOURS)

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(zip((self.dim, *WIDTHS), WIDTHS, strict=False)):
            stride, padding = (1, 0) if i == 0 else (2, 1)
            blocks += [nn.ConvTranspose2d(inputs, outputs, 4, stride, padding, bias=False), nn.BatchNorm2d(outputs)]
        self.blocks = nn.ModuleList(blocks)
        self.to_rgb = nn.ConvTranspose2d(WIDTHS[-1], 3, 4, 2, 1, bias=False)

    def map(self, z: Tensor, *, label: int | None = None) -> Tensor:
        """z (n, 108) to codes (n, 108): the last 8 numbers become the one-hot colour."""
        chosen = z[:, Z_DIM:].argmax(1) if label is None else torch.full((len(z),), label, device=z.device)
        return torch.cat([z[:, :Z_DIM], F.one_hot(chosen, len(COLOURS)).to(z.dtype)], 1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (n, 108) to pictures (n, 3, 128, 128) in [-1, 1]."""
        x = codes[:, :, None, None]
        for convolution, norm in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            x = F.relu(norm(convolution(x)))
        return torch.tanh(self.to_rgb(x))


def eyes() -> Eyes:
    """The generator with its published weights."""
    path = weight_file()
    if path is None:
        raise FileNotFoundError("the package omniart-eye-generator is not installed")
    published = torch.load(path, map_location="cpu", weights_only=True)
    network = Eyes()
    names = [name for name in network.state_dict() if not name.startswith("to_rgb")] + ["to_rgb.weight"]
    network.load_state_dict(dict(zip(names, published.values(), strict=True)))
    return network


class Colours:
    """Tags a picture by the mean colour of the middle of it, where the iris is; each score is a soft threshold."""

    tags = ("blue_eyes", "green_eyes", "red_eyes", "amber_eyes", "brown_eyes", "colourless", "bright", "dark")

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def score(self, images: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) in [-1, 1] to scores (n, 8) in [0, 1]."""
        height, width = images.shape[2:]
        iris = images[:, :, round(0.34 * height) : round(0.78 * height), width // 4 : width - width // 4]
        iris = (iris + 1) / 2  # (n, 3, h, w) in [0, 1]
        red, green, blue = iris.mean((2, 3)).unbind(1)
        warmth, light = (red + green) / 2 - blue, (red + green + blue) / 3
        saturation = (iris.amax(1) - iris.amin(1)).mean((1, 2))
        scores = [
            torch.sigmoid(40 * (-warmth - 0.02)),
            torch.sigmoid(40 * (green - (red + blue) / 2 - 0.02)),
            torch.sigmoid(40 * ((red + blue) / 2 - green - 0.05)),
            torch.sigmoid(40 * (warmth - 0.14)),
            torch.sigmoid(40 * (warmth - 0.05)) * torch.sigmoid(20 * (0.38 - light)),
            torch.sigmoid(60 * (0.05 - saturation)),
            torch.sigmoid(20 * (light - 0.5)),
            torch.sigmoid(20 * (0.35 - light)),
        ]
        return torch.stack(scores, 1)


def colours(threshold: str = "0.5") -> Colours:
    """The tagger; ``?threshold=0.6`` sets the score from which a tag counts as present."""
    return Colours(float(threshold))
