"""Pictures before and after edits, for metrics that look at pictures.

A *move* turns style codes into edited ones. All moves are measured on the same codes and contents, so that what they
do can be compared picture by picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from latentedit.editing.faces import PreparedFaces
from latentedit.generators import Generator
from latentedit.metrics.features.base import FeatureNetwork, features_of
from latentedit.metrics.perceptual import diversity, embed
from latentedit.pictures.folder import PictureFolder
from latentedit.samples.contents import Contents
from latentedit.samples.fill import decode

ORIGINAL = "original"
Move = Callable[[Tensor], Tensor]
Progress = Callable[[int, int], None]


@torch.no_grad()
def iter_moved(faces: PreparedFaces, moves: Mapping[str, Move]) -> Iterator[tuple[str, slice, Tensor]]:
    """Decoded pictures, a batch and a move at a time: (move, rows, pictures (b, 3, H, W) in [-1, 1]).

    Of each batch the unedited pictures come first, under :data:`ORIGINAL`.
    """
    for rows in faces.batches():
        codes = faces.codes(rows)
        for name, move in ({ORIGINAL: lambda w: w} | dict(moves)).items():
            yield name, rows, faces.decode(move(codes), rows)


@torch.no_grad()
def features_of_moves(
    faces: PreparedFaces,
    network: FeatureNetwork | None,
    moves: Mapping[str, Move],
    *,
    perceptual: FeatureNetwork | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Features of the pictures before and after each move, and how far each move takes a picture.

    Returns:
        Features (n, d) float32 of the original and each move, empty without ``network``; perceptual distance (n,)
        float32 of each move's pictures from the originals, empty without ``perceptual``.
    """
    found: dict[str, list[np.ndarray]] = {}
    apart: dict[str, list[np.ndarray]] = {}
    before = torch.zeros(0)
    done, total = 0, len(faces) * (1 + len(moves))
    for name, rows, images in iter_moved(faces, moves):
        if network is not None:
            found.setdefault(name, []).append(features_of(network, images).float().cpu().numpy())
        if perceptual is not None:
            embedded = embed(images, perceptual)
            if name == ORIGINAL:
                before = embedded
            else:
                apart.setdefault(name, []).append((embedded - before).square().sum(1).cpu().numpy())
        done += rows.stop - rows.start
        if progress:
            progress(done, total)
    return {k: np.concatenate(v) for k, v in found.items()}, {k: np.concatenate(v) for k, v in apart.items()}


@torch.no_grad()
def diversity_of_moves(
    generator: Generator,
    network: FeatureNetwork,
    moves: Mapping[str, Move],
    pictures: int,
    *,
    styles: int = 10,
    seed: int = 0,
    contents: Contents | None = None,
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """Mean perceptual distance between pictures of one content in several random styles, before and after each move.

    Args:
        generator: decodes.
        network: has ``maps`` and ``weights``.
        moves: name → move.
        pictures: N, contents to take in turn.
        contents: of image-to-image generators.
        styles: codes for each content, with seeds ``seed + i * styles ...`` for the i-th.

    Returns:
        (N,) float64 of the original and each move.
    """
    found: dict[str, list[float]] = {}
    done, total = 0, pictures * styles * (1 + len(moves))
    for i in range(pictures):
        first = seed + i * styles
        content = None if contents is None else contents(np.array([i % len(contents)]))
        codes = generator.sample_codes(range(first, first + styles))
        names = [f"seed {one}" for one in range(first, first + styles)]
        for name, move in ({ORIGINAL: lambda w: w} | dict(moves)).items():
            images = decode(generator, move(codes), content=content, noise="stored", names=names)
            found.setdefault(name, []).append(diversity(embed(images, network)))
            done += styles
            if progress:
                progress(done, total)
    return {name: np.array(values) for name, values in found.items()}


@torch.no_grad()
def features_of_pictures(
    network: FeatureNetwork, pictures: Sequence[Tensor], *, batch_size: int = 32, progress: Progress | None = None
) -> np.ndarray:
    """Features (n, d) float32 of pictures, each (3, H, W) in [-1, 1], read as they are needed.

    Those of a :class:`PictureFolder` that cannot be read are left out, with a warning.
    """
    found = []
    folder = pictures if isinstance(pictures, PictureFolder) else None
    read = pictures.__getitem__ if folder is None else folder.get
    for start in range(0, len(pictures), batch_size):
        every = [read(i) for i in range(start, min(start + batch_size, len(pictures)))]
        batch = [picture for picture in every if picture is not None]
        alike = len({picture.shape for picture in batch}) == 1
        for part in [torch.stack(batch)] if alike else [picture[None] for picture in batch]:
            found.append(features_of(network, part).float().cpu().numpy())
        if progress:
            progress(start + len(every), len(pictures))
    if folder is not None:
        folder.tell()
    return np.concatenate(found)
