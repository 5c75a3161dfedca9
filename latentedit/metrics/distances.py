"""How far apart pictures are, for metrics that compare each with its neighbours: by a network's features, or pixels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentedit.metrics.features.base import FeatureNetwork, features_of

PIXELS = "pixels"
SIDE = 64
"""Pixels are those of pictures averaged down to this side at most, so that what is kept of one stays small."""


@torch.no_grad()
def embedded(images: Tensor, network: FeatureNetwork | None = None) -> np.ndarray:
    """Pictures (n, 3, H, W) in [-1, 1] to what :func:`apart` compares, (n, m) float32: features, without a network
    pixels.
    """
    if network is not None:
        features: np.ndarray = features_of(network, images).float().cpu().numpy()
        return features
    shown = images.float().clamp(-1, 1)
    if max(shown.shape[2:]) > SIDE:
        h, w = (min(side, SIDE) for side in shown.shape[2:])
        shown = F.adaptive_avg_pool2d(shown, (h, w))
    found: np.ndarray = shown.flatten(1).cpu().numpy()
    return found


def apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean absolute difference (...) of pictures (..., m) embedded by :func:`embedded`."""
    found: np.ndarray = np.abs(a.astype(float) - b).mean(-1)
    return found


def name_of(network: FeatureNetwork | None) -> str:
    """What distances over it are said to be of."""
    return PIXELS if network is None else network.id
