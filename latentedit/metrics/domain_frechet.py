"""DFID: Fréchet distance over the styles of one content (the 2022 study, equation 5.1; Chong & Forsyth, 2021).

For each of N source pictures, M augmented copies give M contents; each is decoded with a fresh style, and the distance
of these M pictures to the real target pictures is measured. DFID is the mean over the N pictures.

All moves decode the same contents with the same styles, so that they compare in pairs: copy k of picture i is that of
:func:`~latentedit.metrics.augmentation.augment`, and its style that of the seed :func:`style_seed`. A distance of M
pictures to the targets depends on how many there are of both; it compares only with distances of as many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import LatentEditError
from latentedit.generators import Generator
from latentedit.metrics.augmentation import augment
from latentedit.metrics.features.base import FeatureNetwork, features_of
from latentedit.metrics.frechet_distance import FrechetStatistics
from latentedit.metrics.intervals import Estimate, estimate
from latentedit.samples.fill import decode

Move = Callable[[Tensor], Tensor]
Progress = Callable[[int, int], None]
ORIGINAL: Mapping[str, Move] = {"original": lambda codes: codes}
MOST_COPIES = 2**20


@dataclass(frozen=True, eq=False)
class DomainFrechet:
    """DFID of each move.

    Attributes:
        values: move → (N,) Fréchet distance of each source picture.
        n_boot: bootstrap repetitions, over source pictures.
    """

    values: Mapping[str, np.ndarray]
    n_boot: int = 1000

    @property
    def means(self) -> dict[str, Estimate]:
        """Move → mean over the source pictures, with its bootstrap interval over them."""
        return {name: estimate(values, n_boot=self.n_boot) for name, values in self.values.items()}

    def difference(self, name: str, other: str = "original") -> Estimate:
        """Mean of one move's distances minus another's, paired by source picture.

        Raises:
            LatentEditError: a move that was not measured.
        """
        for one in (name, other):
            if one not in self.values:
                raise LatentEditError(f"DFID was not measured of {one!r}; choose of {', '.join(self.values)}")
        return estimate(self.values[name] - self.values[other], n_boot=self.n_boot)


def style_seed(seed: int, index: int, copy: int) -> int:
    """Seed of the style of a copy of the source picture ``index``: ``(seed + 2**20 * index + copy) % 2**32``.

    It is the same for every move. Of one run, no two are equal up to 4,096 pictures of 2**20 copies.
    """
    return (seed + index * MOST_COPIES + copy) % 2**32


@torch.no_grad()
def dfid_of_picture(
    generator: Generator,
    network: FeatureNetwork,
    picture: Tensor,
    target: FrechetStatistics,
    *,
    moves: Mapping[str, Move] = ORIGINAL,
    augmentations: int = 1000,
    seed: int = 0,
    index: int = 0,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Fréchet distance of every move for one source picture, the ``index``-th of its run; arguments as of :func:`dfid`.

    Never more than a batch of pictures is held, and memory does not grow with ``augmentations``; a move needs two
    matrices (d, d) and one eigenproblem, O(d^3).

    Raises:
        LatentEditError: the generator has no ``encode``, the picture is no square, the target has seen fewer than two
            pictures or features of another length, a number is out of range, or there is no move.
    """
    encode = _checked(generator, target, moves, augmentations, batch_size, seed, index)
    found = {name: FrechetStatistics() for name in moves}
    for start in range(0, augmentations, batch_size):
        copies = range(start, min(start + batch_size, augmentations))
        seeds = [style_seed(seed, index, k) for k in copies]
        names = [f"seed {one}" for one in seeds]
        codes = generator.sample_codes(seeds)
        content = encode(augment(picture, copies, seed=seed, index=index))[0]
        for name, move in moves.items():
            images = decode(generator, move(codes), content=content, noise="stored", names=names)
            found[name].update(features_of(network, images))
            if found[name].dim != target.dim:
                raise LatentEditError(
                    f"{network.id} makes {found[name].dim} features and the target has {target.dim}; "
                    "measure the target with the same network"
                )
        if progress:
            progress(copies.stop, augmentations)
    return {name: statistics.distance(target) for name, statistics in found.items()}


def _checked(
    generator: Generator,
    target: FrechetStatistics,
    moves: Mapping[str, Move],
    augmentations: int,
    batch_size: int,
    seed: int,
    index: int,
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The generator's ``encode``, when everything can be measured: before the first of many pictures is decoded."""
    encode: Callable[[Tensor], tuple[Tensor, Tensor]] | None = getattr(generator, "encode", None)
    if encode is None:
        raise LatentEditError(f"{generator.id} makes pictures from codes alone; DFID is for image-to-image generators")
    if target.count < 2:
        raise LatentEditError(f"the target of DFID has {target.count} pictures; a Fréchet distance needs two or more")
    if not moves:
        raise LatentEditError("DFID was asked for no move; give one or more, such as {'original': lambda codes: codes}")
    if not 2 <= augmentations <= MOST_COPIES:
        raise LatentEditError(f"{augmentations} augmentations; DFID takes two or more, up to {MOST_COPIES}")
    if batch_size < 1:
        raise LatentEditError(f"batch_size is {batch_size}; it must be 1 or more")
    if not 0 <= seed < 2**32 or index < 0:
        raise LatentEditError(f"seed {seed} or picture {index} is out of range; seeds are 0 ... {2**32 - 1}")
    return encode


def dfid(
    generator: Generator,
    network: FeatureNetwork,
    pictures: Sequence[Tensor] | Tensor,
    target: FrechetStatistics,
    *,
    moves: Mapping[str, Move] = ORIGINAL,
    augmentations: int = 1000,
    seed: int = 0,
    batch_size: int = 32,
    n_boot: int = 1000,
    progress: Progress | None = None,
) -> DomainFrechet:
    """DFID of every move over source pictures.

    Args:
        generator: has ``encode``.
        network: of the features.
        pictures: N of them, each (3, S, S) in [-1, 1] and read when its turn comes.
        target: of the real pictures' features.
        moves: name → edit of the codes (n, d); they share contents and styles.
        augmentations: M, copies of each picture.
        seed: of copies and styles, 0 ... 2**32 - 1.
        batch_size: pictures decoded at once; it does not change the result.
        n_boot: bootstrap repetitions, for the intervals over pictures.
        progress: called with (copies done, copies in all).

    Raises:
        LatentEditError: no pictures; see also :func:`dfid_of_picture`.
    """
    if not len(pictures):
        raise LatentEditError("DFID needs at least one source picture")
    rows = [
        dfid_of_picture(
            generator, network, pictures[i], target, moves=moves, augmentations=augmentations, seed=seed, index=i,
            batch_size=batch_size,
            progress=_part_of(progress, i * augmentations, len(pictures) * augmentations),
        )
        for i in range(len(pictures))
    ]  # fmt: skip
    return DomainFrechet({name: np.array([row[name] for row in rows]) for name in moves}, n_boot)


def _part_of(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Progress of one picture as a part of all."""
    return None if progress is None else lambda done, _: progress(before + done, total)
