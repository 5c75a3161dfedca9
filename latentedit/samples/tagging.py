"""Stored samples, or picture files, to the tags of a tagger.

:func:`tag` decodes a run's codes again, with the content and the noise they were sampled with, and
stores the scores beside those that are there. The same call again does what is left. Rows that an earlier version of a
tagger's code scored are tagged anew: the two are never mixed.
:func:`tag_pictures` scores picture files as they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentedit.errors import LatentEditError, UnreadablePictureError
from latentedit.generators.base import Generator
from latentedit.generators.probe import probe_of
from latentedit.pictures.folder import tell_unreadable, unreadable_among
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
        if pictures is not None:
            pictures.mark_unreadable(writer.manifest.contents_taken(), known=set(pictures.source.pictures))
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
        paths: n files, those that could be read.
        tags: t names.
        scores: (n, t) float32 in [0, 1].
        thresholds: (t,) score from which each tag counts as present.
        unreadable: the other files, and why they could not be read.
    """

    paths: tuple[Path, ...]
    tags: tuple[str, ...]
    scores: np.ndarray
    thresholds: np.ndarray
    unreadable: Mapping[Path, str] = field(default_factory=dict)

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
    tagged: Callable[[TaggedPictures], None] | None = None,
) -> TaggedPictures:
    """Score picture files of any size and shape.

    Of several, those that cannot be read are left out and told in a warning: before the work as far as their headers
    say, the others after it. Where there is a core to spare, a worker reads and prepares the next batch while the
    network scores this one.

    Args:
        pictures: one picture, frame of a video (``clip.mp4#t=12.5``) or folder, or several pictures.
        tagger: scores them; it prepares them as it was made to.
        batch_size: pictures scored at once.
        progress: called with finished pictures and all of them.
        tagged: called with each batch when it is scored; what it has got is there whatever happens to the rest.

    Raises:
        LatentEditError: there are none, none can be read or prepared, or the tagger knows stored samples only.
    """
    where = str(pictures) if isinstance(pictures, (str, Path)) else "those that were named"
    if isinstance(pictures, (str, Path)):
        pictures = list_pictures(pictures) if Path(pictures).is_dir() else [pictures]
    paths = tuple(Path(path) for path in pictures)
    if not paths:
        raise LatentEditError("no picture to tag; name some, or a folder")
    if batch_size < 1:
        raise LatentEditError(f"batch_size is {batch_size}; it must be 1 or more")
    if len(paths) == 1:
        check_picture(paths[0])  # or this is its own error
    bad = unreadable_among(paths)
    tell_unreadable(where, len(paths), bad, none_left=len(bad) == len(paths))
    told, report, found = len(bad), progress or (lambda done, total: None), list[TaggedPictures]()
    report(len(bad), len(paths))
    for part in _iter_tagged([path for path in paths if path not in bad], tagger, batch_size, bad):
        found.append(part)
        if tagged is not None:
            tagged(part)
        report(sum(len(one.paths) for one in found) + len(bad), len(paths))
    new = dict(list(bad.items())[told:])
    tell_unreadable(where, len(paths), new if found else bad, none_left=not found)
    scores = np.concatenate([part.scores for part in found])
    every = tuple(path for part in found for path in part.paths)
    return TaggedPictures(every, tuple(tagger.tags), scores, thresholds_of(tagger), bad)


def _iter_tagged(
    paths: Sequence[Path], tagger: Tagger, batch_size: int, bad: dict[Path, str]
) -> Iterator[TaggedPictures]:
    """Pictures with their scores, a batch at a time; those that turn out to be bad are added to these."""
    prepare, predict = halves(tagger)
    drops_alpha = bool(getattr(tagger, "drops_alpha", False))

    def batches() -> Iterator[list[tuple[Path, Any]]]:
        for start in range(0, len(paths), batch_size):
            batch = []
            for path in paths[start : start + batch_size]:
                try:
                    batch.append((path, prepare(read_pixels(path, drops_alpha=drops_alpha)[None])))
                except LatentEditError as error:
                    if len(paths) == 1 and not bad:
                        raise error if str(path) in str(error) else LatentEditError(f"{path}: {error}") from error
                    bad[path] = error.why if isinstance(error, UnreadablePictureError) else str(error)
            if batch:
                yield batch

    for batch in feed(batches(), tagger):
        names, prepared = tuple(path for path, _ in batch), [rows for _, rows in batch]
        same = all(rows.shape == prepared[0].shape for rows in prepared)  # always so where the tagger resizes
        scores = predict(join(prepared)) if same else torch.cat([predict(rows) for rows in prepared])
        yield TaggedPictures(names, tuple(tagger.tags), checked_scores(tagger, scores, names), thresholds_of(tagger))
