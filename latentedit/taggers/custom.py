"""Taggers of a user's own: ``torch:package.module:factory?key=value``.

The factory returns any object with ``tags`` and ``score``; :class:`CustomTagger` fills in the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from latentedit.generators.base import weights_id
from latentedit.registry import Supplied, build
from latentedit.taggers.base import Tagger, eight_bits
from latentedit.taggers.showing import Shown

_ROUNDING = 1e-3  # of half precision, beyond [0, 1]


class CustomTagger(Shown):
    """A user's object with the whole contract of a tagger.

    =============  =====================================================================
    of the object  when it is missing
    =============  =====================================================================
    ``tags``       required: a tuple of different texts
    ``score``      required: pictures (n, 3, H, W) in [-1, 1] to scores (n, tags) in [0, 1]
    ``threshold``  0.5
    ``thresholds`` none: a mapping from the tags whose threshold is another one
    ``settings``   none: a mapping of texts, stored beside the scores
    ``features``   none: pictures to (n, f), or to maps (n, f, h, w), which are averaged; for naturalness
    ``id``         hash of its tensors; without any, of the factory's name and options
    =============  =====================================================================

    Its modules are moved, frozen and switched to evaluation, and run without gradients.

    Attributes:
        name: as it was asked for.
        repeats_within: what scores of the same picture may differ by while its code is the same; its id does not say.

    Raises:
        LatentEditError: the object lacks something.
    """

    def __init__(self, supplied: Supplied, *, device: torch.device, dtype: torch.dtype) -> None:
        self._supplied = supplied
        self.name = supplied.name.removeprefix("tagger ")
        supplied.require("score")
        self.tags = supplied.words("tags")
        self.threshold = self._threshold("threshold", supplied.get("threshold", 0.5))
        self.thresholds = {tag: self._threshold(f"thresholds[{tag!r}]", t) for tag, t in self._mapping("thresholds")}
        self.settings = {key: str(value) for key, value in self._mapping("settings")}
        self.id = supplied.text("id", "") if supplied.get("id") else weights_id("torch", supplied.tensors())
        supplied.settle(device, dtype)
        self.repeats_within = 0.01 if dtype.itemsize >= 4 else 0.05

    def _threshold(self, name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise self._supplied.error(f"{name} is {value!r}; it must be a number in [0, 1]")
        return float(value)

    def _mapping(self, name: str) -> list[tuple[str, Any]]:
        value = self._supplied.get(name, {})
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise self._supplied.error(f"{name} is {value!r}; it must be a mapping with texts for keys")
        return list(value.items())

    def score(self, images: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) in [-1, 1], rounded to 8 bits first, to scores (n, tags) float32 in [0, 1]."""
        if not len(images):
            return torch.zeros(0, len(self.tags), device=images.device)
        shape = (len(images), len(self.tags))
        pictures = eight_bits(images).float() / 127.5 - 1
        scores = self._supplied.call("score", self._supplied.place(pictures))
        scores = self._supplied.tensor("score", scores, shape, f"{shape}, one row a picture and one column a tag")
        low, high = float(scores.min()), float(scores.max())
        if low < -_ROUNDING or high > 1 + _ROUNDING:
            raise self._supplied.error(
                f"score returned values from {low:.4g} to {high:.4g}; they must be in [0, 1] (logits need a sigmoid)"
            )
        return scores.clamp(0, 1)


class CustomTrunk(CustomTagger):
    """A user's tagger whose object has ``features``."""

    def features(self, images: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) in [-1, 1], rounded to 8 bits first, to features (n, f) float32."""
        pictures = eight_bits(images).float() / 127.5 - 1
        found = self._supplied.call("features", self._supplied.place(pictures))
        if isinstance(found, Tensor) and found.ndim == 4:
            found = found.mean((2, 3))
        return self._supplied.tensor("features", found, (len(images), None), "(n, f), one row a picture")


def load(argument: str, options: Mapping[str, str], *, device: torch.device, dtype: torch.dtype) -> Tagger:
    """The tagger that the factory ``package.module:name`` makes.

    Args:
        argument: ``package.module:name``.
        options: keyword arguments of the factory, all text.
        device: where its modules go.
        dtype: of its weights.

    Raises:
        LatentEditError: it cannot be imported or called, or is no tagger.
    """
    supplied = build("tagger", argument, options)
    kind = CustomTrunk if callable(supplied.get("features")) else CustomTagger
    return kind(supplied, device=device, dtype=dtype)
