"""``avatar``: the bundled tagger of cartoon faces, in Danbooru's spelling.

A small residual network (He et al., 2016) over 128 x 128 pictures. How it was trained and what it
reaches: ``data/README.md``.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentedit.generators.base import weights_id
from latentedit.registry import check_options
from latentedit.shipped import shipped
from latentedit.taggers.base import PictureTagger, eight_bits
from latentedit.tensorfile import load_weights

RESOLUTION = 128
WEIGHTS = "data/avatar-tagger.safetensors"
TAGS = "data/avatar-tags.txt"


class Residual(nn.Module):
    """Two 3 x 3 convolutions with a shortcut; halves the side when the width grows."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        )
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


class TaggerNetwork(nn.Module):
    """Pictures (n, 3, 128, 128) in [-1, 1] to logits (n, tags)."""

    def __init__(self, tags: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(12, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            Residual(32, 64, 2), Residual(64, 64, 1),
            Residual(64, 128, 2), Residual(128, 128, 1),
            Residual(128, 192, 2), Residual(192, 192, 1),
        )  # fmt: skip
        self.head = nn.Linear(2 * 192, tags)

    def pooled(self, x: Tensor) -> Tensor:
        """What the head sees, (n, 384): means and maxima over the picture."""
        x = self.trunk(x)
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pooled(x))


class AvatarTagger(PictureTagger):
    """The bundled tagger."""

    settings = {"size": f"{RESOLUTION} x {RESOLUTION}", "resize": "bilinear, antialiased"}

    def __init__(self, network: TaggerNetwork, tags: tuple[str, ...], id: str) -> None:
        self.id, self.tags = id, tags
        self.network = network.eval().requires_grad_(False)
        self.device = network.head.weight.device

    @torch.inference_mode()
    def prepare(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) uint8 to (n, 3, 128, 128) in [-1, 1]; resized bilinearly, antialiased."""
        weight = self.network.head.weight
        images = pictures.to(weight.device).float() / 127.5 - 1
        if images.shape[-2:] != (RESOLUTION, RESOLUTION):
            images = F.interpolate(images, (RESOLUTION, RESOLUTION), mode="bilinear", antialias=True)
        return images.to(weight.dtype)

    @torch.inference_mode()
    def predict(self, prepared: Tensor) -> Tensor:
        """Pictures (n, 3, 128, 128) in [-1, 1] to scores (n, tags) float32."""
        return self.network(prepared).float().sigmoid()

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) in [-1, 1], rounded to 8 bits, to what the network's head sees, (n, 384) float32.

        Raises:
            LatentEditError: another shape, or values that are not finite.
        """
        return self.network.pooled(self.prepare(eight_bits(images))).float()


def load(argument: str, options: dict[str, str], *, device: torch.device, dtype: torch.dtype) -> AvatarTagger:
    """The bundled tagger, or one trained by ``scripts/avatar`` as ``avatar:FILE``.

    Raises:
        LatentEditError: options, of which it has none.
        DamagedFileError: the file is missing or is not its weights.
    """
    check_options("avatar", options, {})
    path = Path(argument) if argument else shipped(WEIGHTS)
    tags = tuple(shipped(TAGS).read_text().split())
    network = TaggerNetwork(len(tags))
    load_weights(network, path, "the avatar tagger")
    identity = weights_id("avatar", network.state_dict())
    return AvatarTagger(network.to(device, dtype), tags, identity)
