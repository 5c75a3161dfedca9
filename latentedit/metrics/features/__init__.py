"""Networks that turn pictures into features for metrics: the contract, the registry and :func:`load_features`."""

from __future__ import annotations

import torch

from latentedit.metrics.features.base import FeatureNetwork
from latentedit.registry import Registry, usable_device

DEFAULT_FEATURES = "efficientnet-lite0"
"""What metrics use when nothing is said: real ImageNet weights that a package ships, so no download is needed."""

FEATURES = Registry(
    "feature network",
    "latentedit.features",
    {
        "alex": "latentedit.metrics.features.trunks:load_alex",
        "efficientnet-lite0": "latentedit.metrics.features.efficientnet:load",
        "inception": "latentedit.metrics.features.inception:load",
        "squeeze": "latentedit.metrics.features.trunks:load_squeeze",
        "torch": "latentedit.metrics.features.custom:load",
        "vgg": "latentedit.metrics.features.trunks:load_vgg",
    },
)
register_features = FEATURES.register
"""Decorator: registers ``load(argument, options, *, device, dtype) -> FeatureNetwork`` under a name."""


def load_features(
    name: str = DEFAULT_FEATURES, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> FeatureNetwork:
    """Load the feature network that ``kind``, ``kind:file`` or ``kind:file?option=value`` names.

    Raises:
        UnknownNameError: no such kind.
        LatentEditError: a file, an option or an extra is missing or wrong.
    """
    load, argument, options = FEATURES.resolve(name)
    network: FeatureNetwork = load(argument, options, device=usable_device(device), dtype=dtype)
    return network


__all__ = ["DEFAULT_FEATURES", "FEATURES", "FeatureNetwork", "load_features", "register_features"]
