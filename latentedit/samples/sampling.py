"""Seeds to stored style codes and tags.

:func:`sample` draws the code of each seed, decodes it, lets a tagger score the picture, and stores
both shard by shard, as :mod:`latentedit.samples.store` says; pictures touch the disk only with
``keep_images``. Without a tagger and without ``keep_images`` nothing is decoded.

* Row s is seed s. Its code depends on the seed alone, and its content is
  ``contents[(s // styles_per_content) % len(contents)]`` in name order. So batch size, shard size and
  interruptions do not change what is stored (codes to 1e-6), and a larger ``n`` extends a run.
* The same call again keeps the finished shards and does the rest. It also redoes a shard whose file
  was deleted, and labels an older run with a tagger that it lacks.
* Pictures for people to look at and to label are files in another folder, with ``images``; see
  :mod:`latentedit.samples.picture_files`.
* A folder that holds another run is refused in a line that names what differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from latentedit.errors import LatentEditError, MismatchError
from latentedit.generators.base import Generator, class_of
from latentedit.generators.probe import probe_of
from latentedit.samples.changed import tagger_has_changed
from latentedit.samples.contents import Contents
from latentedit.samples.expected import Expected, expect
from latentedit.samples.fill import Job, Progress, check_tagger, fill, write_pictures
from latentedit.samples.manifest import NAME, Manifest, read_manifest
from latentedit.samples.picture_files import PictureFiles
from latentedit.samples.store import Samples, open_samples
from latentedit.samples.writer import open_writer
from latentedit.taggers.base import Tagger


def sample(
    generator: Generator,
    out: str | Path,
    *,
    tagger: Tagger | None = None,
    n: int = 10_200,
    seed: int = 0,
    contents: str | Path | Sequence[str | Path] | None = None,
    styles_per_content: int = 3,
    truncation: float = 1.0,
    label: int | None = None,
    noise: str | int = "stored",
    batch_size: int = 32,
    shard_size: int = 2048,
    keep_images: bool = False,
    generator_name: str | None = None,
    tagger_name: str | None = None,
    images: str | Path | None = None,
    progress: Progress | None = None,
    images_progress: Progress | None = None,
    expected: Callable[[Expected], None] | None = None,
) -> Samples:
    """Store the codes of seeds ``seed ... seed + n - 1``, and a tagger's scores of what they decode to.

    Args:
        generator: decodes the codes.
        out: folder of the run; made when missing, resumed or extended when it holds the same run.
        tagger: scores the pictures; None stores codes alone.
        n: rows to have in the end; with ``images`` a run may have more, and these are the pictures to have.
        seed: of the first row.
        contents: folder of pictures, one picture, or several paths, for an image-to-image generator; None takes the
            generator's ``default_contents`` if it has any, else its default content for every row.
        styles_per_content: seeds in a row that share a content.
        truncation: 1 for none, towards 0 for the mean code.
        label: class of a conditional generator.
        noise: ``"stored"``, ``"none"`` or a seed, as :meth:`Generator.decode` takes it.
        batch_size: codes decoded and scored at once.
        shard_size: rows of a file; what a killed run may lose.
        keep_images: store each picture as PNG with its code.
        generator_name: as the user typed it, for the manifest.
        tagger_name: as the user typed it, for the manifest.
        images: folder for a picture of each of the n rows as ``SEED.png``; those that are there stay.
        progress: called with finished rows and all rows, first with what is there already.
        images_progress: as ``progress``, when pictures are decoded for ``images`` alone.
        expected: called before the work with the disk space that it takes; to know, a few rows are decoded and
            scored. It may raise to stop.

    Returns:
        The stored run.

    Raises:
        MismatchError: ``out`` holds another run, or the code of generator or tagger has changed since.
        DamagedFileError: a finished shard does not fit the manifest.
        LatentEditError: an argument is out of range, a picture cannot be read, the generator or the
            tagger returns something of another shape or not finite, or the folder cannot be written to.
    """
    _check_whole(n=n, styles_per_content=styles_per_content, batch_size=batch_size, shard_size=shard_size)
    if seed < 0 or seed + n > 2**32:
        raise LatentEditError(
            f"seeds {seed} ... {seed + n - 1} leave 0 ... {2**32 - 1}; choose another seed (--seed) or fewer rows (-n)"
        )
    if not math.isfinite(truncation):
        raise LatentEditError(f"truncation is {truncation}; it must be a number, 1 for none")
    if label is not None and label < 0:
        raise LatentEditError(f"label is {label}; it must be the number of a class, from 0 on")
    if noise not in ("stored", "none") and (isinstance(noise, str) or noise < 0):
        raise LatentEditError(f"noise is {noise!r}; it must be 'stored', 'none' or a seed from 0 on")
    if tagger is not None:
        check_tagger(tagger)
    if contents is None:
        contents = getattr(generator, "default_contents", None)
    pictures = None if contents is None else Contents.find(generator, contents)
    if pictures is not None:
        period = styles_per_content * len(pictures)
        taken = np.arange(seed, seed + min(n, period)) // styles_per_content % len(pictures)
        pictures.mark_unreadable(set(taken.tolist()), known=_contents_taken(Path(out)))
    wanted = Manifest(
        generator_id=generator.id,
        generator_weights=getattr(generator, "weights", None) or None,
        generator_probe=probe_of(generator),
        generator=generator_name,
        dim=int(generator.dim),
        layers=tuple(generator.layers),
        seed=int(seed),
        truncation=float(truncation),
        label=class_of(generator, label),
        noise=noise if isinstance(noise, str) else int(noise),
        contents=pictures.seen_from(out) if pictures else None,
        styles_per_content=int(styles_per_content),
        shard_size=int(shard_size),
        images=bool(keep_images),
        wanted=int(n),
    )
    with open_writer(out, wanted) as writer:
        rows = writer.manifest.rows
        if rows > n and images is None:
            raise LatentEditError(
                f"{out} holds {rows} rows, more than {n}; open it as it is, ask for more (-n), or choose another folder"
            )
        if rows:
            _check_code(Samples(writer.path, writer.manifest), generator, tagger)
        files = None if images is None else PictureFiles(images, writer.manifest, n)
        job = Job(generator, tagger, pictures, batch_size, tagger_name, progress, files)
        if expected is not None:
            expected(expect(writer, job, max(n, rows)))
        fill(writer, job, max(n, rows))
        stored = open_samples(out)
        if files is not None and files.missing:
            write_pictures(stored, replace(job, progress=images_progress), files)
    return stored


def _contents_taken(out: Path) -> set[str]:
    """Marks of the content pictures that the rows of a run took, if there is a run."""
    there = read_manifest(out) if (out / NAME).exists() else None
    if there is None or there.contents is None:
        return set()
    return {there.contents.pictures[i] for i in there.contents_taken()}


def _check_code(stored: Samples, generator: Generator, tagger: Tagger | None) -> None:
    """Check that rows of old code and of new are not mixed.

    Raises:
        MismatchError: what the generator draws, or how the tagger scores, has changed since the rows were stored.
    """
    stored.check_generator(generator.id, probe=probe_of(generator))
    if tagger is not None and tagger_has_changed(stored, generator, tagger):
        raise MismatchError(
            f"{tagger.id} has other scores or tags than those stored in {stored.path}, from the same weights: its code "
            f"has changed since; tag these rows anew with `latentedit tag {stored.path} --tagger NAME`, or sample into "
            "another folder"
        )


def _check_whole(**values: int) -> None:
    for name, value in values.items():
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise LatentEditError(f"{name} is {value}; it must be a whole number from 1 on")
