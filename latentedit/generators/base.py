"""The contract of a generator, and what every family needs to fulfil it."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import LatentEditError


@runtime_checkable
class Generator(Protocol):
    """A frozen network that decodes style codes into pictures.

    Image-to-image generators also have ``encode(images) -> (content, style z)``, and ``decode`` takes
    that content: a tensor with one row per code, or one row for all. Conditional generators whose class
    enters the decoder rather than the code have ``content_of_label(label)``.
    """

    id: str
    """``kind:`` and 12 hexadecimal digits of the weights' hash; see :func:`weights_id`."""
    z_dim: int
    dim: int
    layers: tuple[str, ...]
    resolution: int
    """Side of the pictures; the longer one of oblong ones, whose ``picture_size`` is (height, width)."""

    def map(
        self, z: Tensor, *, label: int | None = None, truncation: float = 1.0, truncation_layers: int | None = None
    ) -> Tensor:
        """z (n, z_dim) to style codes (n, dim), or (n, layers, dim) when ``truncation_layers`` is given."""
        ...

    def sample_codes(self, seeds: Sequence[int], *, label: int | None = None, truncation: float = 1.0) -> Tensor:
        """Style codes (n, dim) float32 of seeds; a seed's code depends on nothing but the seed."""
        ...

    def decode(self, codes: Tensor, *, content: Tensor | None = None, noise: str | int = "stored") -> Tensor:
        """Codes (n, dim) or (n, layers, dim) to pictures (n, 3, H, W) float32, about [-1, 1], not clamped."""
        ...

    def style_weights(self) -> dict[str, Tensor]:
        """Weights (m, dim) by module name that style codes are multiplied with, for SeFa."""
        ...


def picture_size(generator: Generator) -> tuple[int, int]:
    """Height and width of a generator's pictures: its ``picture_size`` where they are oblong, else squares."""
    height, width = getattr(generator, "picture_size", None) or (generator.resolution, generator.resolution)
    return int(height), int(width)


def seed_latents(seeds: Sequence[int], z_dim: int) -> Tensor:
    """z of each seed, (n, z_dim) float32: ``numpy.random.RandomState(seed).randn(1, z_dim)``, NVIDIA's convention.

    Raises:
        LatentEditError: a seed is outside 0 ... 2**32 - 1.
    """
    for seed in seeds:
        if not 0 <= seed < 2**32:
            raise LatentEditError(f"seed {seed} is outside 0 ... {2**32 - 1}")
    rows = [np.random.RandomState(seed).randn(1, z_dim) for seed in seeds]
    return torch.from_numpy(np.concatenate(rows) if rows else np.zeros((0, z_dim))).float()


def weights_id(kind: str, tensors: Mapping[str, Tensor]) -> str:
    """``kind:`` and 12 hexadecimal digits of sha256 over names and float32 values.

    The same weights in another container, or stored in another order, have the same id.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return f"{kind}:{digest.hexdigest()[:12]}"


def per_slot(codes: Tensor, layers: int, dim: int) -> Tensor:
    """Codes (n, dim) or (n, layers, dim) to (n, layers, dim).

    Raises:
        LatentEditError: another shape, or values that are not finite.
    """
    if codes.shape[1:] not in ((dim,), (layers, dim)):
        raise LatentEditError(
            f"codes have shape {tuple(codes.shape)}; this generator takes (n, {dim}) or (n, {layers}, {dim})"
        )
    if not torch.isfinite(codes).all():
        bad = int((~torch.isfinite(codes.flatten(1)).all(1)).nonzero()[0])
        raise LatentEditError(f"code {bad} holds values that are not finite (NaN or infinity)")
    return codes[:, None].expand(-1, layers, -1) if codes.ndim == 2 else codes


def truncate(codes: Tensor, mean: Tensor, truncation: float, truncation_layers: int | None, layers: int) -> Tensor:
    """Move codes (n, dim) towards their mean: ``mean + truncation * (codes - mean)``.

    With ``truncation_layers`` only that many first slots move, and the result is (n, layers, dim).
    """
    moved = codes if truncation == 1.0 else mean + truncation * (codes - mean)
    if truncation_layers is None:
        return moved
    slots = codes[:, None].repeat(1, layers, 1)
    slots[:, :truncation_layers] = moved[:, None]
    return slots


def match_content(content: Tensor, n: int) -> Tensor:
    """Content with one row per code: (n, ...) as it is, (1, ...) repeated.

    Raises:
        LatentEditError: another number of rows.
    """
    if len(content) not in (1, n):
        raise LatentEditError(f"content has {len(content)} rows for {n} codes; give one row, or one per code")
    return content.expand(n, *content.shape[1:])


def class_of(generator: Generator, label: int | None) -> int | None:
    """The class that is drawn; the first one of a conditional generator, with a warning, where none is named."""
    labels = getattr(generator, "labels", 0)
    if label is None and isinstance(labels, int) and labels > 1:
        warnings.warn(
            f"{generator.id} has {labels} classes and none is named: class 0 is taken (--label for another)",
            stacklevel=3,
        )
        return 0
    return None if label is None else int(label)


def content_of_label(generator: Generator, label: int | None) -> Tensor | None:
    """Content that decodes pictures of a class, where the class enters the decoder rather than the code.

    Such generators have ``content_of_label(label) -> (1, ...)``; for others, and without a class, None.
    """
    of = getattr(generator, "content_of_label", None)
    found: Tensor | None = None if of is None or label is None else of(label)
    return found
