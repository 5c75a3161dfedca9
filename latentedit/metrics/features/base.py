"""The contract of a feature network, and how metrics that use one are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from latentedit.errors import LatentEditError
from latentedit.pictures.pieces import in_pieces

REFERENCE_NETWORKS: Mapping[str, Mapping[str, str]] = {
    "FID": {"inception": "FID"},
    "DFID": {"inception": "DFID"},
    "LPIPS": {"alex": "LPIPS (alex)", "vgg": "LPIPS (vgg)", "squeeze": "LPIPS (squeeze)"},
}
"""The networks under which a metric carries its published name, and what it is then called."""

SUBSTITUTE_NAMES: Mapping[str, str] = {"FID": "FD", "DFID": "DFD", "LPIPS": "PD"}
"""What a metric is called over any other network, followed by that network's name: Fréchet distance, domain Fréchet
distance, perceptual distance."""


@runtime_checkable
class FeatureNetwork(Protocol):
    """A frozen network that turns pictures into features.

    Networks for Fréchet distances have ``features``; those for LPIPS have ``maps`` and ``weights``; some have both.
    """

    id: str
    """``kind:`` and 12 hexadecimal digits of the weights' hash, with the options that change its numbers."""
    name: str
    """The kind, as tables show it: ``inception``, ``efficientnet-lite0``, ``alex``."""
    dim: int
    """Length d of a picture's features; 0 when it has only maps."""

    def features(self, images: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) in [-1, 1] to features (n, d) float32."""
        ...

    def maps(self, images: Tensor) -> list[Tensor]:
        """Pictures (n, 3, H, W) in [-1, 1] to the activations (n, c_l, h_l, w_l) that LPIPS compares, a layer each."""
        ...

    def weights(self) -> list[Tensor]:
        """The linear head of each layer of :meth:`maps`, (c_l,) and not negative."""
        ...


def features_of(network: FeatureNetwork, images: Tensor) -> Tensor:
    """Features (n, d) float32 of pictures (n, 3, H, W) in [-1, 1], of fewer at once where memory runs out."""
    return in_pieces(lambda rows: network.features(images[rows]), len(images), network)


def metric_name(metric: str, network: FeatureNetwork) -> str:
    """``FID`` over Inception, ``FD-efficientnet-lite0`` over that: only the reference network has the plain name.

    Args:
        metric: a key of :data:`REFERENCE_NETWORKS`.
        network: that the metric is measured with.
    """
    plain = REFERENCE_NETWORKS[metric].get(network.name)
    return plain if plain is not None else f"{SUBSTITUTE_NAMES[metric]}-{network.name}"


def unit_range(images: Tensor) -> Tensor:
    """Pictures (n, 3, H, W) cut to [-1, 1], float32.

    Raises:
        LatentEditError: another number of channels or axes, or values that are not finite.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise LatentEditError(f"pictures have shape {tuple(images.shape)}; a feature network takes (n, 3, H, W)")
    if not torch.isfinite(images).all():
        raise LatentEditError("a picture holds values that are not finite (NaN or infinity)")
    return images.float().clamp(-1, 1)
