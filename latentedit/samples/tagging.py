"""Stored samples, or picture files, to the tags of a tagger.

:func:`tag` decodes a run's codes again, with the content and the noise they were sampled with, and
stores the scores beside those that are there. The same call again does what is left. Rows that an earlier version of a
tagger's code scored are tagged anew: the two are never mixed.
:func:`tag_pictures` scores picture files as they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import LatentEditError
from latentedit.generators.base import Generator
from latentedit.generators.probe import probe_of
from latentedit.pictures.images import check_picture, list_pictures, read_pixels
from latentedit.samples.changed import tagger_has_changed
from latentedit.samples.contents import Contents
from latentedit.samples.fill import Job, Progress, check_tagger, checked_scores, fill
from latentedit.samples.store import Samples, open_samples
from latentedit.samples.writer import open_writer
from latentedit.taggers.base import Tagger, thresholds_of
from latentedit.taggers.prefetch import feed, halves, join


def tag(
    samples: Samples | str | Path,
    generator: Generator,
    tagger: Tagger,
    *,
    contents: str | Path | None = None,
    batch_size: int = 32,
    progress: Progress | None = None,
    tagger_name: str | None = None,
) -> Samples:
    """Score what stored codes decode to, beside the scores of other taggers.

    Args:
        samples: a stored run, or its folder.
        generator: the one that the codes belong to.
        tagger: scores the pictures.
        contents: folder of the content pictures when they have moved since.
        batch_size: codes decoded and scored at once.
        progress: called with finished rows and all rows, first with what is there already.
        tagger_name: as the user typed it, for the manifest.

    Returns:
        The run with these tags too; the handle that was given does not change.

    Raises:
        MismatchError: the codes belong to another generator, a content picture was changed, or the run
            holds scores of the same tagger id for other tags.
        DamagedFileError: a shard or a content picture is missing, or a shard was changed.
        LatentEditError: as :func:`latentedit.samples.sampling.sample`.
    """
    stored = samples if isinstance(samples, Samples) else open_samples(samples)
    if batch_size < 1:
        raise LatentEditError(f"batch_size is {batch_size}; it must be 1 or more")
    stored.check_generator(generator.id, probe=probe_of(generator))
    check_tagger(tagger)
    with open_writer(stored.path) as writer:
        source = writer.manifest.contents
        if source is None and contents is not None:
            raise LatentEditError(f"{stored.path} was sampled without contents; leave them out (--contents)")
        pictures = None if source is None else Contents.find_again(generator, source, contents, samples=stored.path)
        whole = open_samples(stored.path)  # all code shards are there
        if tagger_has_changed(whole, generator, tagger, contents=contents):
            warnings.warn(
                f"{tagger.id} has other scores or tags than those stored in {stored.path}, from the same weights: its "
                "code has changed since; all rows are tagged anew",
                stacklevel=2,
            )
            writer.forget_tags(tagger.id)
        fill(writer, Job(generator, tagger, pictures, batch_size, tagger_name, progress), writer.manifest.rows)
    return open_samples(stored.path)


@dataclass(frozen=True)
class TaggedPictures:
    """Scores of picture files.

    Attributes:
        paths: n files.
        tags: t names.
        scores: (n, t) float32 in [0, 1].
        thresholds: (t,) score from which each tag counts as present.
    """

    paths: tuple[Path, ...]
    tags: tuple[str, ...]
    scores: np.ndarray
    thresholds: np.ndarray

    def present(self, picture: int, *, threshold: float | None = None) -> dict[str, float]:
        """Tags that reach their threshold, or this one, on a picture, with their scores, highest first."""
        scores = self.scores[picture]
        reached = np.flatnonzero(scores >= (self.thresholds if threshold is None else threshold))
        order = reached[np.argsort(-scores[reached], kind="stable")]
        return {self.tags[i]: float(scores[i]) for i in order}


def tag_pictures(
    pictures: str | Path | Sequence[str | Path],
    tagger: Tagger,
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> TaggedPictures:
    """Score picture files of any size and shape.

    Where there is a core to spare, a worker reads and prepares the next batch while the network scores this one.

    Args:
        pictures: one picture, frame of a video (``clip.mp4#t=12.5``) or folder, or several pictures.
        tagger: scores them; it prepares them as it was made to.
        batch_size: pictures scored at once.
        progress: called with finished pictures and all of them.

    Raises:
        LatentEditError: there are none, one cannot be read or prepared, or the tagger knows stored samples only.
    """
    if isinstance(pictures, (str, Path)):
        pictures = list_pictures(pictures) if Path(pictures).is_dir() else [pictures]
    paths = tuple(Path(path) for path in pictures)
    if not paths:
        raise LatentEditError("no picture to tag; name some, or a folder")
    if batch_size < 1:
        raise LatentEditError(f"batch_size is {batch_size}; it must be 1 or more")
    for path in paths:
        check_picture(path)
    prepare, predict = halves(tagger)
    drops_alpha = bool(getattr(tagger, "drops_alpha", False))
    report = progress or (lambda done, total: None)
    found: list[np.ndarray] = []

    def batches() -> Iterator[list[Any]]:
        for start in range(0, len(paths), batch_size):
            yield [_prepared(path, prepare, drops_alpha) for path in paths[start : start + batch_size]]

    report(0, len(paths))
    for batch in feed(batches(), tagger):
        same = all(rows.shape == batch[0].shape for rows in batch)  # always so where the tagger resizes
        scores = predict(join(batch)) if same else torch.cat([predict(rows) for rows in batch])
        done = sum(len(rows) for rows in found)
        found.append(checked_scores(tagger, scores, paths[done : done + len(batch)]))
        report(done + len(batch), len(paths))
    return TaggedPictures(paths, tuple(tagger.tags), np.concatenate(found), thresholds_of(tagger))


def _prepared(path: Path, prepare: Callable[[Tensor], Any], drops_alpha: bool) -> Any:
    try:
        return prepare(read_pixels(path, drops_alpha=drops_alpha)[None])
    except LatentEditError as error:
        raise error if str(path) in str(error) else LatentEditError(f"{path}: {error}") from error
