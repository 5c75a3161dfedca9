"""Slider quality: does an edit do what its strength asks, always forwards, in even steps?

Three numbers of an edit at several strengths, unedited pictures standing at 0. They are this project's own definitions.

* **Gain**: the change of the target's score that was achieved over the one that was asked for. Strength 3 asks for the
  tag outright, of each picture all that its score lacks of 1; smaller strengths for as much of that in proportion,
  larger ones for no more; negative ones for the tag's absence in the same way. Sums over pictures and strengths are
  divided, so it needs no ceiling of carriers and no picture is divided by nearly nothing. 1 is a slider that follows;
  below 1 it lags or stops short, above 1 it runs ahead.
* **Monotone**: the share of steps, from a strength to the next of one picture, at which its score does not fall by more
  than 0.01. A step too small to see is no step back.
* **Unevenness**: how far a picture goes in a step, for as much strength; the standard deviation of that over its mean,
  both averaged over pictures. 0 is a slider that moves evenly; 1 one that stands still and then jumps. How far is the
  mean absolute difference of a network's features, or of pixels (:mod:`latentedit.metrics.distances`).
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from latentedit.directions.edits import DEFAULT_STRENGTH, Edit
from latentedit.metrics.distances import apart, embedded
from latentedit.metrics.features.base import FeatureNetwork
from latentedit.metrics.scoring import Look

STEP_BACK = 0.01
"""How far a score may fall in a step that still counts as monotone."""


def whole_strength(one: Edit) -> float:
    """The number that strengths are multiplied by, or the strength itself, at which an edit asks for its tag outright:
    3 σ, or its own strength where that is in another unit."""
    if one.unit != "sigma":
        return 1.0
    return DEFAULT_STRENGTH / abs(one.strength) if one.strength else DEFAULT_STRENGTH


def slider_table(
    scores: np.ndarray, strengths: np.ndarray, *, whole: float = DEFAULT_STRENGTH, steps: np.ndarray | None = None
) -> np.ndarray:
    """What an edit's gain, monotone share and unevenness are made of, by picture.

    Args:
        scores: (m, p) of the target, NaN where it is not measured.
        strengths: (p,) rising, with 0 among them.
        whole: strength at which the tag is asked for outright.
        steps: (m, p - 1) how far apart the pictures of neighbouring strengths are; None where nobody looked.

    Returns:
        (m, 5): score achieved and asked for, over all strengths; share of monotone steps; mean and standard deviation
        of the steps for as much strength.
    """
    m, p = scores.shape
    first = scores[:, strengths == 0]  # (m, 1)
    sign, share = np.sign(strengths), np.minimum(np.abs(strengths) / whole, 1)
    achieved = ((scores - first) * sign).sum(1)
    asked = (np.where(sign > 0, 1 - first, first) * share).sum(1)
    rising = np.where(np.isnan(first[:, 0]), np.nan, (np.diff(scores, axis=1) >= -STEP_BACK).mean(1))
    if steps is None:
        even = np.full((2, m), np.nan)
    else:
        rates = steps / np.diff(strengths)  # (m, p - 1)
        even = np.stack([rates.mean(1), rates.std(1)])
    found: np.ndarray = np.stack([achieved, asked, rising, *even], 1)
    return found


def slider_numbers(means: np.ndarray) -> np.ndarray:
    """Gain, monotone share and unevenness (b, 3) of means (b, 5) of a :func:`slider_table`."""
    achieved, asked, rising, rate, spread = np.moveaxis(means, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: np.ndarray = np.stack([achieved / asked, rising, spread / rate], -1)
    return found


class Steps:
    """Looks at pictures while they are scored, and keeps how far those of neighbouring strengths are apart.

    Args:
        strengths: (s,) in the order in which they are done.
        network: that compares the pictures; pixels are compared when None.
    """

    def __init__(self, strengths: np.ndarray, network: FeatureNetwork | None) -> None:
        self._order = [int(np.flatnonzero(strengths == s)[0]) for s in np.sort(strengths) if s]
        self._zero = int((strengths < 0).sum())
        self._network = network
        self._before: list[np.ndarray] = []
        self._found: list[np.ndarray] = []

    def __call__(self, number: int) -> Look:
        """What sees the unedited pictures, 0, which come first, or those of an edit."""
        return self._edited() if number else self._unedited()

    def _unedited(self) -> Look:
        def look(move: int, images: Tensor, scores: np.ndarray) -> None:
            self._before.append(embedded(images, self._network))

        return look

    def _edited(self) -> Look:
        """Sees all strengths of an edit, batch by batch as the unedited ones came."""
        self._found, batch = [], dict[int, np.ndarray]()

        def look(move: int, images: Tensor, scores: np.ndarray) -> None:
            if move in self._order:
                batch[move] = embedded(images, self._network)
            if len(batch) == len(self._order):
                row = [batch[place] for place in self._order]
                row.insert(self._zero, self._before[len(self._found)])
                self._found.append(np.stack([apart(a, b) for a, b in zip(row, row[1:], strict=False)], 1))
                batch.clear()

        return look

    def apart(self) -> np.ndarray:
        """Distances (n, p - 1) between neighbouring strengths, 0 among them, of the edit that was seen last."""
        return np.concatenate(self._found)
