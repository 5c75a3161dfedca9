"""Resizing as the published taggers do it, on batches of pictures."""

from __future__ import annotations

import torch
from torch import Tensor


def area_resize(pictures: Tensor, height: int, width: int) -> Tensor:
    """Resize by exact box averages: a pixel is the mean of what it covers, parts of pixels by their share.

    Args:
        pictures: (n, c, H, W), any dtype.
        height, width: wanted; larger ones repeat pixels.

    Returns:
        (n, c, height, width) float32 on the pictures' device.
    """
    rows = area_weights(pictures.shape[2], height).to(pictures.device)
    columns = area_weights(pictures.shape[3], width).to(pictures.device)
    return rows @ pictures.float() @ columns.T


def area_weights(old: int, new: int) -> Tensor:
    """Weights (new, old) of the means along an axis; each row sums to 1."""
    edges = torch.arange(new + 1, dtype=torch.float64) * (old / new)
    pixels = torch.arange(old, dtype=torch.float64)
    covered = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    weights = covered.clamp(min=0)
    return (weights / weights.sum(1, keepdim=True)).float()
