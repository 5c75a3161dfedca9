"""Stored samples to the tags of another tagger.

:func:`tag` decodes a run's codes again, with the content and the noise they were sampled with, and
stores the scores beside those that are there. The same call again does what is left.
"""

from __future__ import annotations

from pathlib import Path

from latentedit.errors import DamagedFileError, LatentEditError, MismatchError
from latentedit.generators.base import Generator
from latentedit.manifest import ContentSource
from latentedit.sampling import Contents, Job, Progress, check_tagger, fill, fingerprinted
from latentedit.store import Samples, open_samples
from latentedit.taggers.base import Tagger
from latentedit.writer import open_writer


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
        LatentEditError: as :func:`latentedit.sampling.sample`.
    """
    stored = samples if isinstance(samples, Samples) else open_samples(samples)
    if batch_size < 1:
        raise LatentEditError(f"batch_size is {batch_size}; it must be 1 or more")
    if generator.id != stored.generator_id:
        raise MismatchError(
            f"{stored.path} holds codes of {stored.generator_id}, and this generator is {generator.id}; "
            "load the generator they were sampled with"
        )
    check_tagger(tagger)
    with open_writer(stored.path) as writer:
        source = writer.manifest.contents
        if source is None and contents is not None:
            raise LatentEditError(f"{stored.path} was sampled without contents; leave contents out")
        pictures = None if source is None else _find_again(generator, source, contents)
        open_samples(stored.path)  # all code shards are there
        fill(writer, Job(generator, tagger, pictures, batch_size, tagger_name, progress), writer.manifest.rows)
    return open_samples(stored.path)


def _find_again(generator: Generator, source: ContentSource, moved: str | Path | None) -> Contents:
    """The content pictures of a run, in its order, checked against their hashes."""
    folder = Path(moved if moved is not None else source.folder)
    paths = []
    for recorded in source.pictures:
        name, _, _ = recorded.rpartition("#")
        path = folder / name
        if not path.is_file():
            raise DamagedFileError(f"content picture {path} is missing; name the folder where it is now as contents")
        if fingerprinted(name, path) != recorded:
            raise MismatchError(
                f"content picture {path} was changed since the run was sampled; put the old one back, or sample again"
            )
        paths.append(path)
    return Contents(generator, source, paths)
