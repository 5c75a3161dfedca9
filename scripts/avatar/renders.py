"""Reads what render.mjs wrote, and poses pictures at random."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SIZE = 144


def load_pixels(prefix: Path) -> Tensor:
    """Memory-mapped pictures of PREFIX.rgb, (n, 144, 144, 3) uint8."""
    return torch.from_numpy(np.memmap(prefix.with_suffix(".rgb"), np.uint8, "c").reshape(-1, SIZE, SIZE, 3))


def load_parts(prefix: Path) -> list[dict]:
    """The parts each picture of PREFIX was drawn with."""
    return json.loads(prefix.with_suffix(".json").read_text())


def to_images(pixels: Tensor) -> Tensor:
    """(n, h, w, 3) uint8 to (n, 3, h, w) float32 in [-1, 1]."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def random_pose(n: int, *, degrees: float = 20.0, zoom: float = 0.1, shift: float = 0.08) -> Tensor:
    """Poses (n, 4) as avatar_network.affine takes them: rotation, scale about 0.8, shift; never mirrored."""
    uniform = lambda limit: (torch.rand(n) * 2 - 1) * limit  # noqa: E731
    angle, scale = uniform(degrees * math.pi / 180), 0.8 * (1 + uniform(zoom))
    return torch.stack([scale * angle.cos(), scale * angle.sin(), uniform(shift), uniform(shift)], 1)
