"""LPIPS: how different pictures look (Zhang et al., 2018, equation 1).

Activations are normalised along the channels, subtracted, squared, weighted by each layer's head and averaged over
space. Since heads are not negative, a picture can be embedded once, such that the distance of two pictures is the
squared Euclidean distance of their embeddings.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentedit.errors import LatentEditError
from latentedit.metrics.features import DEFAULT_FEATURES, FeatureNetwork, load_features
from latentedit.pictures.pieces import in_pieces

_EPSILON = 1e-10


def embed(images: Tensor, network: FeatureNetwork) -> Tensor:
    """Pictures (n, 3, H, W) in [-1, 1] to vectors (n, D) float32 whose squared distances are perceptual ones.

    Of fewer pictures at once where memory runs out.
    """
    return in_pieces(lambda rows: _embed(images[rows], network), len(images), network)


def _embed(images: Tensor, network: FeatureNetwork) -> Tensor:
    parts = []
    for activation, head in zip(network.maps(images), network.weights(), strict=True):
        n, _, h, w = activation.shape
        unit = activation / (activation.norm(dim=1, keepdim=True) + _EPSILON)
        parts.append((unit * (head.to(unit) / (h * w)).sqrt()[:, None, None]).reshape(n, -1))
    return torch.cat(parts, 1)


def lpips(
    images_a: Tensor, images_b: Tensor, *, network: str | FeatureNetwork = DEFAULT_FEATURES, batch_size: int = 32
) -> Tensor:
    """Perceptual distance of each picture from its partner.

    It is LPIPS over ``alex:FILE``, ``vgg:FILE`` and ``squeeze:FILE``; over another network it is a substitute.

    Args:
        images_a, images_b: (n, 3, H, W) in [-1, 1], of the same shape.
        network: a name, as :func:`latentedit.metrics.features.load_features` takes it, or a network.
        batch_size: pairs at once.

    Returns:
        (n,) float32, not negative.

    Raises:
        LatentEditError: other shapes.
    """
    if images_a.shape != images_b.shape:
        raise LatentEditError(f"pictures of shape {tuple(images_a.shape)} and {tuple(images_b.shape)} make no pairs")
    used = load_features(network) if isinstance(network, str) else network
    found = [
        (embed(a, used) - embed(b, used)).square().sum(1).cpu()
        for a, b in zip(images_a.split(batch_size), images_b.split(batch_size), strict=True)
    ]
    return torch.cat(found) if found else torch.zeros(0)


def pairwise_lpips(images: Tensor, *, network: str | FeatureNetwork = DEFAULT_FEATURES) -> Tensor:
    """Perceptual distance of every picture (n, 3, H, W) from every other: (n, n) float32, 0 on the diagonal."""
    embedded = embed(images, load_features(network) if isinstance(network, str) else network)
    return torch.stack([(embedded - one).square().sum(1) for one in embedded]).cpu()


def diversity(embedded: Tensor) -> float:
    """Mean squared distance over all pairs of embeddings (n, D), n of two or more: twice their summed variance."""
    return 2 * float(embedded.cpu().double().var(0).sum())
