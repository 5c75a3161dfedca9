"""Tiny deterministic networks for tests: a generator, an image-to-image one and a tagger.

Everything runs in float64 inside, so that a row does not depend on the batch it is computed in.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from latentedit.errors import LatentEditError
from latentedit.generators.base import match_content, per_slot, seed_latents, truncate, weights_id

TAGS = ("long_hair", "short_hair", "open_mouth", "closed_mouth", "red_hair", "smile")


def _normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).randn(*shape))


class ToyGenerator:
    """Codes of 16 numbers to 16 x 16 pictures by a fixed linear map and tanh; two slots add up.

    Args:
        seed: another seed has other weights, thus another id.
    """

    z_dim = 8
    dim = 16
    layers: tuple[str, ...] = ("a", "b")
    resolution = 16

    def __init__(self, seed: int = 0) -> None:
        self._mapping = _normal(seed, self.z_dim, self.dim) / self.z_dim**0.5
        self._bend = _normal(seed + 1, self.dim, self.dim) / self.dim**0.5
        self._mean = _normal(seed + 2, self.dim) * 0.1
        self._paint = _normal(seed + 3, len(self.layers), self.dim, 3 * self.resolution**2) * 0.15
        self._pattern = _normal(seed + 4, 3, self.resolution, self.resolution) * 0.01
        weights = {"mapping": self._mapping, "bend": self._bend, "mean": self._mean, "paint": self._paint}
        self.id = weights_id("toy", weights)

    def map(
        self, z: Tensor, *, label: int | None = None, truncation: float = 1.0, truncation_layers: int | None = None
    ) -> Tensor:
        """z (n, 8) to codes (n, 16) float32; a label shifts them."""
        x = z.double() @ self._mapping
        codes = self._mean + x + torch.tanh(x @ self._bend) + 0.1 * (label if label is not None else 0)
        return truncate(codes, self._mean, truncation, truncation_layers, len(self.layers)).float()

    def sample_codes(self, seeds: Sequence[int], *, label: int | None = None, truncation: float = 1.0) -> Tensor:
        """Codes (n, 16) float32 of seeds."""
        return self.map(seed_latents(seeds, self.z_dim), label=label, truncation=truncation)

    def _canvas(self, codes: Tensor, noise: str | int) -> Tensor:
        slots = per_slot(codes, len(self.layers), self.dim).double()
        canvas = torch.einsum("nld,ldp->np", slots, self._paint).reshape(-1, 3, self.resolution, self.resolution)
        if noise == "stored":
            return canvas + self._pattern
        return canvas if noise == "none" else canvas + 0.01 * _normal(int(noise), *self._pattern.shape)

    def decode(self, codes: Tensor, *, content: Tensor | None = None, noise: str | int = "stored") -> Tensor:
        """Codes (n, 16) or (n, 2, 16) to pictures (n, 3, 16, 16) float32 in [-1, 1]."""
        if content is not None:
            raise LatentEditError("the toy generator takes no content")
        return torch.tanh(self._canvas(codes, noise)).float()

    def style_weights(self) -> dict[str, Tensor]:
        """Weights (768, 16) of both slots."""
        return {f"{name}.affine": self._paint[i].T.float().clone() for i, name in enumerate(self.layers)}


class ToyTranslator(ToyGenerator):
    """The toy generator with content: the brightness of a picture's four quarters, (n, 4); default all 0."""

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (n, 3, 16, 16) to content (n, 4) and style z (n, 8), both float32."""
        quarters = F.adaptive_avg_pool2d(images.double().mean(1, keepdim=True), 2).flatten(1)
        return quarters.float(), torch.cat([quarters, -quarters], 1).float()

    def decode(self, codes: Tensor, *, content: Tensor | None = None, noise: str | int = "stored") -> Tensor:
        """As the toy generator, the canvas lit by the content (n, 4) or (1, 4)."""
        quarters = match_content(torch.zeros(1, 4) if content is None else content, len(codes)).double()
        light = F.interpolate(quarters.reshape(-1, 1, 2, 2), scale_factor=self.resolution // 2, mode="nearest")
        return torch.tanh(self._canvas(codes, noise) + light).float()


class ToyConditional(ToyGenerator):
    """The toy generator with classes that enter the decoder rather than the code: each lights the picture more."""

    def map(
        self, z: Tensor, *, label: int | None = None, truncation: float = 1.0, truncation_layers: int | None = None
    ) -> Tensor:
        """z (n, 8) to codes (n, 16) float32, the same for every class."""
        return super().map(z, truncation=truncation, truncation_layers=truncation_layers)

    def content_of_label(self, label: int) -> Tensor:
        """How much a class lights the picture, (1, 1)."""
        return torch.full((1, 1), 0.5 * label)

    def decode(self, codes: Tensor, *, content: Tensor | None = None, noise: str | int = "stored") -> Tensor:
        """As the toy generator at half contrast, lit by the class."""
        light = torch.zeros(1, 1) if content is None else content
        return super().decode(codes, noise=noise) / 2 + light[..., None, None]


def as_png(images: Tensor) -> Tensor:
    """Pictures (n, 3, H, W) in [-1, 1] as they come back from PNG files that Pillow wrote and read."""
    half = np.float32(127.5)  # in float32, as pictures are saved: in float64 some of the halves fall otherwise
    pixels = np.floor((images.float().numpy() + np.float32(1)) * half + np.float32(0.5)).clip(0, 255).astype(np.uint8)
    found = []
    for one in pixels.transpose(0, 2, 3, 1):
        file = io.BytesIO()
        Image.fromarray(one).save(file, "PNG")
        found.append(np.array(Image.open(file)))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 127.5 - 1


class ToyTagger:
    """Six tags, each the sigmoid of a linear function of the pixels; the two pairs oppose each other.

    Args:
        seed: another seed has other weights, thus another id.
        tags: names of the tags, at most six.
        threshold: score from which a tag counts as present.
    """

    def __init__(self, seed: int = 100, tags: Sequence[str] = TAGS, threshold: float = 0.5) -> None:
        hair, mouth, red, smile = _normal(seed, 4, 3 * 16 * 16) * 0.3
        columns = [hair, -0.9 * hair + 0.1 * red, mouth, -0.9 * mouth + 0.1 * smile, red, smile]
        self._weight = torch.stack(columns, 1)[:, : len(tags)]  # (768, tags)
        self._offset = torch.tensor([0.0, 1.0, 2.0, 0.0, 4.0, 3.0]).double()[: len(tags)]
        self.tags = tuple(tags)
        self.threshold = threshold
        self.id = weights_id("toytags", {"weight": self._weight, "offset": self._offset})

    def score(self, images: Tensor) -> Tensor:
        """Pictures (n, 3, 16, 16) to scores (n, tags) float32 in [0, 1]."""
        return torch.sigmoid(images.double().flatten(1) @ self._weight - self._offset).float()
