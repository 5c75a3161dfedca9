"""What a generator draws of fixed seeds: whether that is what pictures should be, and a **probe** of it.

The id of a generator of a user's own is a hash of its tensors, so mending its code changes nothing of it. Its probe is
what it draws: 8 x 8 thumbnails of the pictures of four fixed seeds. What is kept of such a generator (samples,
directions, priors) keeps the probe beside the id, and is refused once the two draw other pictures.

As text a probe is base64 of its float32 numbers, (4, 3, 8, 8), little-endian; nobody else reads it.
"""

from __future__ import annotations

import base64
import binascii
import warnings
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentedit.errors import LatentEditError, MismatchError
from latentedit.generators.base import Generator

MOST, BATCH = 64, 4
"""Pictures that are looked at, and how many at once; the first batch makes the probe."""
SEEDS = range(MOST)
SIDE = 8
TOLERANCE = 0.01
"""Of a thumbnail's values in [-1, 1]: what another machine may draw differently is far below."""
_STEADY = 1e-3  # of a picture that is decoded twice: nondeterministic sums on a GPU differ by less
_FLAT = 1e-4


@dataclass(frozen=True)
class Look:
    """What the pictures of :data:`SEEDS` are like.

    Attributes:
        pictures: that were looked at; fewer than :data:`MOST` where a few say it all.
        lowest: value of them.
        outside: share of the values that lie beyond [-1, 1] by more than a tenth.
        alike: all are one picture.
        flat: each is of one colour.
        steady: decoding the first of them again gives the same.
        thumbnails: of the first four, (4, 3, 8, 8) float32.
    """

    pictures: int
    lowest: float
    outside: float
    alike: bool
    flat: bool
    steady: bool
    thumbnails: Tensor

    @property
    def probe(self) -> str | None:
        """As text; None where a second look would give another one."""
        return _text(self.thumbnails) if self.steady else None


@torch.no_grad()
def look_at(generator: Generator) -> Look:
    """Decode the pictures of fixed seeds, a few at once, and no more than it takes to tell what they are like."""
    codes = generator.sample_codes(SEEDS)
    first = generator.decode(codes[:BATCH]).float().cpu()
    again = generator.decode(codes[:BATCH]).float().cpu()
    count, lowest, beyond, alike, flat = 0, float("inf"), 0.0, True, True
    for start in range(0, MOST, BATCH):
        pictures = generator.decode(codes[start : start + BATCH]).float().cpu() if start else first
        count += len(pictures)
        lowest = min(lowest, float(pictures.min()))
        beyond += float((pictures.abs() > 1.1).float().mean(dtype=torch.float64)) * len(pictures)
        alike &= bool(((pictures - first[:1]).abs() < _FLAT).all())
        flat &= bool((pictures.amax((2, 3)) - pictures.amin((2, 3)) < _FLAT).all())
        if lowest < 0 and not alike and not flat:
            break
    steady = bool(((first - again).abs() < _STEADY).all())
    return Look(count, lowest, beyond / count, alike, flat, steady, F.adaptive_avg_pool2d(first, SIDE))


def warn_of(look: Look, name: str) -> None:
    """A warning for each thing that is odd about a generator's pictures."""
    said = []
    if look.alike:
        said.append(f"it decodes {look.pictures} codes to one and the same picture, so no edit will change anything")
    elif look.flat:
        said.append(f"each of {look.pictures} pictures is of one colour; if that is not meant, see what decode returns")
    if not look.steady:
        said.append(
            "decoding the same code twice gives two pictures, so before and after differ by more than the edit, "
            "samples cannot be drawn again, and whether its code has changed cannot be told; fix the seed of what is "
            "random in it"
        )
    if look.outside > 1 / 3:
        said.append(
            f"{look.outside:.0%} of its pictures' values lie far outside [-1, 1] and will be cut; another range can be "
            "stated with ?range=LOW..HIGH in its name, or pixel_range = (LOW, HIGH) on the object"
        )
    for one in said:
        warnings.warn(f"{name}: {one}", stacklevel=2)


def probe_of(generator: object) -> str | None:
    """The probe of a generator whose id does not say all; None for the others, and where there is none."""
    found = getattr(generator, "probe", None)
    return found if isinstance(found, str) else None


def check_probe(now: str | None, kept: str | None, *, holder: str, generator_id: str, advice: str) -> None:
    """Refuse a generator that draws other pictures than when something was made with it.

    Args:
        now: its probe; None for generators that need none.
        kept: the probe that was kept then; None where none was, which is taken with a warning.
        holder: what keeps it, for messages.
        generator_id: which is the same now and then.
        advice: what to do, for messages.

    Raises:
        MismatchError: they differ.
    """
    if now is None:
        return
    if kept is None:
        warnings.warn(
            f"no probe of {generator_id} is kept with {holder}, so whether its code has changed since cannot be told; "
            "taken as it is",
            stacklevel=2,
        )
    elif not _agree(now, kept):
        raise MismatchError(
            f"{generator_id} draws other pictures, from the same weights, than {holder} came from: its code has "
            f"changed since, or the range in its name; {advice}"
        )


def _text(values: Tensor) -> str:
    return base64.b64encode(values.contiguous().numpy().astype("<f4").tobytes()).decode("ascii")


def _agree(one: str, other: str) -> bool:
    a, b = _numbers(one), _numbers(other)
    return a.shape == b.shape and bool((np.abs(a - b) <= TOLERANCE).all())


def _numbers(text: str) -> np.ndarray:
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<f4")
    except (binascii.Error, ValueError) as error:
        raise LatentEditError("a probe is damaged; what holds it must be made again") from error
