"""SeFa: directions in closed form from a generator's weights, without samples.

Style codes enter a generator through affine maps ``y = A w + b``; the directions that change y most are the
leading eigenvectors of ``A^T A`` (Shen & Zhou, "Closed-Form Factorization of Latent Semantics in GANs", CVPR
2021, eqs. 6 to 8), where A stacks the maps of the chosen layers, (m, d). Two variants are in use:

* ``"normalised"`` (genforce/sefa, the authors' code): each row of A is divided by its norm first;
* ``"raw"`` (rosinality's and GANs N' Roses'): A as it is, by SVD.

Components are called ``sefa_00``, ``sefa_01``, ... by falling eigenvalue; the largest-magnitude entry is
positive. :func:`latentedit.directions.match_by_correlation` gives tags to components when samples exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from latentedit.directions.direction import Direction
from latentedit.directions.finder import STILL, warn_lost
from latentedit.directions.statistics import Array
from latentedit.errors import LatentEditError, UnknownNameError
from latentedit.generators.base import Generator

SIGMA_SEEDS = range(2**31, 2**31 + 4096)
"""Seeds of the codes that sigma is measured on; far from those that people sample."""


_drawn: WeakKeyDictionary[Generator, Array] = WeakKeyDictionary()


def sigma_codes(generator: Generator) -> Array:
    """Codes (4096, d) float64 of :data:`SIGMA_SEEDS`, not writeable; drawn once a generator, as that may take long."""
    try:
        return _drawn[generator]
    except (KeyError, TypeError):  # not drawn yet, or an object that nothing can be kept for
        codes = generator.sample_codes(SIGMA_SEEDS).detach().cpu().double().clone().numpy()
    codes.setflags(write=False)
    with suppress(TypeError):
        _drawn[generator] = codes
    return codes


@dataclass(frozen=True)
class SeFa:
    """Directions by closed-form factorisation, O(m d^2 + d^3).

    Attributes:
        variant: "normalised" or "raw".
        k: number of components.
        layers: exact names among ``generator.style_weights()``; all when None.
    """

    variant: Literal["normalised", "raw"] = "normalised"
    k: int = 8
    layers: tuple[str, ...] | None = None

    name: ClassVar[str] = "sefa"
    needs: ClassVar[str] = "weights"

    def fit(self, source: Generator, *, tags: Sequence[str] | None = None) -> list[Direction]:
        """The first ``k`` components, or those of them named in ``tags``, as ``sefa_03``.

        Raises:
            UnknownNameError: no such variant, layer or component.
            LatentEditError: ``k`` does not fit, or weights that are not finite.
        """
        if self.variant not in ("normalised", "raw"):
            raise UnknownNameError("SeFa variant", self.variant, ("normalised", "raw"))
        weights = select_weights(source.style_weights(), self.layers)
        stacked = np.concatenate([w.detach().cpu().double().numpy() for w in weights.values()])  # (m, d)
        d = stacked.shape[1]
        if not isinstance(self.k, int) or isinstance(self.k, bool) or not 1 <= self.k <= d:
            raise LatentEditError(f"k is {self.k}; give 1 to {d} components")
        if not np.isfinite(stacked).all():
            raise LatentEditError(f"the style weights of {source.id} hold values that are not finite (NaN or infinity)")
        names = [f"sefa_{i:02d}" for i in range(self.k)]
        for tag in tags or ():
            if tag not in names:
                raise UnknownNameError("SeFa component", tag, names)
        values, vectors = factorise(stacked, normalise=self.variant == "normalised")
        v = vectors[:, : self.k]  # (d, k)
        codes = sigma_codes(source)  # (4096, d)
        sigmas = (codes @ v).std(0)
        moving = sigmas > STILL * np.sqrt(codes.var(0).sum())
        wanted = [names.index(tag) for tag in tags] if tags is not None else list(range(self.k))
        warn_lost(self.name, [names[i] for i in wanted if not moving[i]])
        params = {"variant": self.variant, "k": self.k, "layers": None if self.layers is None else list(self.layers)}
        return [
            Direction(
                tag=names[i], vector=torch.from_numpy(v[:, i].astype(np.float32)), sigma=float(sigmas[i]),
                finder=self.name, params={**params, "eigenvalue": float(values[i])}, generator_id=source.id,
                layers=tuple(source.layers),
            )
            for i in wanted
            if moving[i]
        ]  # fmt: skip


def select_weights(weights: Mapping[str, Tensor], layers: Sequence[str] | None) -> dict[str, Tensor]:
    """The weights of the named layers, in the generator's order.

    Raises:
        UnknownNameError: a name is not among the weights.
        LatentEditError: none is left.
    """
    if isinstance(layers, str):
        raise LatentEditError(f"layers is {layers!r}; give a list of names among {', '.join(weights)}")
    for name in layers or ():
        if name not in weights:
            raise UnknownNameError("style weight", name, weights)
    chosen = {name: w for name, w in weights.items() if layers is None or name in layers}
    if not chosen:
        raise LatentEditError("SeFa needs style weights; this choice of layers, or this generator, has none")
    return chosen


def factorise(a: Array, *, normalise: bool) -> tuple[Array, Array]:
    """Eigenvalues (d,), falling, and eigenvectors (d, d) in columns of A^T A; Shen & Zhou 2021, eq. 8.

    Args:
        a: stacked style weights (m, d).
        normalise: divide each row by its norm; rows of zeros stay.
    """
    if normalise:
        norms = np.linalg.norm(a, axis=1, keepdims=True)  # (m, 1)
        a = a / np.where(norms > 0, norms, 1)
    values, v = np.linalg.eigh(a.T @ a)  # rising
    values, v = values[::-1], v[:, ::-1]
    largest = np.take_along_axis(v, np.abs(v).argmax(0)[None], 0)  # (1, d)
    return values, v * np.where(largest < 0, -1.0, 1.0)
