"""The contract of a tagger, and the halves that most taggers are made of.

A tagger of pictures works in two steps, so that a worker can prepare a batch while the network runs on the one
before: :meth:`PictureTagger.prepare` turns 8-bit pictures into the network's input, :meth:`PictureTagger.predict`
runs the network. Pictures are rounded to 8 bits first, so a picture scores the same after a trip through a PNG file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import LatentEditError
from latentedit.pictures.images import quantised
from latentedit.pictures.pieces import in_pieces
from latentedit.taggers.showing import Shown

Prepared = Tensor | np.ndarray
"""The input of a tagger's network, a row a picture."""


@runtime_checkable
class Tagger(Protocol):
    """A network that scores pictures against a list of tags.

    It may also have ``thresholds``, a mapping from the tags whose threshold is another one, and ``settings``, a
    mapping of texts that says how pictures are prepared; both are stored beside its scores.

    One that knows the rows of a run rather than pictures, such as labels that people gave, also has
    ``label_rows(seeds (n,), content names or None) -> scores (n, tags)``, NaN where there is no label, of a row or of
    some tags of it; then stored samples are not decoded for it. ``check_rows`` with the same arguments may refuse a run
    before the work.

    A judge of naturalness also has ``features(images) -> (n, f)``, what its network knows of pictures (n, 3, H, W) in
    [-1, 1] before it scores them.
    """

    id: str
    """``kind:`` and 12 hexadecimal digits of the weights' hash, with what else changes scores."""
    tags: tuple[str, ...]
    threshold: float
    """Score from which a tag counts as present."""

    def score(self, images: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) in [-1, 1] to scores (n, tags) in [0, 1]."""
        ...


class PictureTagger(Shown, ABC):
    """A tagger made of a preparation and a network; subclasses set ``id`` and ``tags``."""

    id: str
    tags: tuple[str, ...]
    threshold: float = 0.5
    thresholds: Mapping[str, float] = {}
    settings: Mapping[str, str] = {}
    device: torch.device = torch.device("cpu")
    """Where the network runs."""
    drops_alpha: bool = False
    """Whether pictures with transparency lose it, rather than being laid on white."""

    @abstractmethod
    def prepare(self, pictures: Tensor) -> Prepared:
        """Pictures (n, 3, H, W) uint8 to the network's input, a row a picture, of one shape whatever H and W.

        It may run in another thread than :meth:`predict`.
        """

    @abstractmethod
    def predict(self, prepared: Any) -> Tensor:
        """What :meth:`prepare` gave to scores (n, tags) float32 in [0, 1]."""

    def score(self, images: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) in [-1, 1] to scores (n, tags) float32 in [0, 1].

        Values are cut to [-1, 1] and rounded to 8 bits first.

        Raises:
            LatentEditError: another shape, or values that are not finite.
        """
        pictures = eight_bits(images)
        if not len(pictures):
            return torch.zeros(0, len(self.tags))
        return self.predict_in_pieces(self.prepare(pictures))

    def predict_in_pieces(self, prepared: Any) -> Tensor:
        """As :meth:`predict`, of fewer pictures at once where memory runs out."""
        return in_pieces(lambda rows: self.predict(prepared[rows]), len(prepared), self)


def thresholds_of(tagger: Tagger) -> np.ndarray:
    """Score (tags,) float64 from which each tag of a tagger counts as present."""
    exceptions = getattr(tagger, "thresholds", {})
    return np.array([exceptions.get(tag, tagger.threshold) for tag in tagger.tags], float)


def eight_bits(images: Tensor) -> Tensor:
    """Pictures (n, 3, H, W) in [-1, 1] to uint8, as a PNG file would hold them; uint8 stays as it is.

    Raises:
        LatentEditError: another number of channels or axes, a side of one pixel, or values that are not finite.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        kind = {1: ", which is grey", 4: ", which has transparency"}.get(images.shape[1] if images.ndim == 4 else 0, "")
        raise LatentEditError(
            f"pictures have shape {tuple(images.shape)}{kind}; a tagger takes (n, 3, H, W): red, green, blue"
        )
    if min(images.shape[2:]) < 2:
        raise LatentEditError(
            f"pictures are {images.shape[3]} x {images.shape[2]} pixels; a tagger needs two or more a side"
        )
    if images.dtype == torch.uint8:
        return images.contiguous()  # another layout in memory would give other last digits
    if not torch.isfinite(images).all():
        bad = int((~torch.isfinite(images).flatten(1).all(1)).nonzero()[0])
        raise LatentEditError(f"picture {bad} holds values that are not finite (NaN or infinity)")
    return quantised(images).contiguous()
