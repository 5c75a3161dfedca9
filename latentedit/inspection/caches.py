"""Caches that commands keep beside what they write, and what killed ones left: all that may be removed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from latentedit.directions.moments import CACHE as MOMENTS
from latentedit.errors import LatentEditError
from latentedit.files import is_being_written, temporary_files, visible_files
from latentedit.prior.fitting import STATE as PRIOR_STATE
from latentedit.samples.manifest import NAME as MANIFEST
from latentedit.taggers.training import STATE as JUDGE_STATE
from latentedit.tensorfile import header

_AN_HOUR = 3600.0


@dataclass(frozen=True)
class Cache:
    """Files that can be made again.

    Attributes:
        what: they are.
        files: that hold it.
        size: bytes.
    """

    what: str
    files: tuple[Path, ...]
    size: int

    def remove(self) -> None:
        """Remove the files, and folders of theirs that are empty then.

        Raises:
            LatentEditError: one cannot be removed.
        """
        try:
            for file in self.files:
                file.unlink(missing_ok=True)
            for folder in {file.parent for file in self.files if file.parent.name == MOMENTS}:
                folder.rmdir()
        except OSError as error:
            raise LatentEditError(f"cannot remove {error.filename}: {error.strerror}") from error


def caches_of(folder: str | Path) -> list[Cache]:
    """What may be removed of a folder of samples, or of one that holds samples, directions, a study or a demo.

    Raises:
        LatentEditError: there is no such folder, or a process is writing to samples in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LatentEditError(f"{folder}: there is no such folder; name one that commands wrote to")
    places = [folder, *sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))]
    for place in places:
        if is_being_written(place):
            raise LatentEditError(f"another process is writing to {place}; wait for it to end")
    kinds = {
        "moments, which the next fit gathers again": _moments(places),
        "what stopped fits have done, from which the same command would go on": _states(places),
        "files that killed commands left": _left(places),
    }
    found = [Cache(what, tuple(files), sum(f.stat().st_size for f in files)) for what, files in kinds.items()]
    return [cache for cache in found if cache.files]


def _moments(places: list[Path]) -> list[Path]:
    samples = [place for place in places if (place / MANIFEST).is_file()]
    return sorted(file for place in samples for file in visible_files(place / MOMENTS, "*.safetensors"))


def _states(places: list[Path]) -> list[Path]:
    hidden = (file for place in places for file in place.glob(".*.safetensors.*") if file.is_file())
    return sorted(file for file in hidden if header(file).get("format") in (PRIOR_STATE, JUDGE_STATE))


def _left(places: list[Path]) -> list[Path]:
    def deep() -> Iterator[Path]:
        for place in places:
            yield from temporary_files(place)
            if (place / MANIFEST).is_file():
                for inner in (*place.glob("tags/*"), place / MOMENTS):
                    yield from temporary_files(inner)

    return sorted({file for file in deep() if time.time() - file.stat().st_mtime > _AN_HOUR})
