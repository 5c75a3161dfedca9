"""Content pictures of an image-to-image generator: found, encoded once, and found again later."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import DamagedFileError, LatentEditError, MismatchError, UnreadablePictureError
from latentedit.files import sha256_of
from latentedit.generators.base import Generator, picture_size
from latentedit.pictures.folder import tell_unreadable, unreadable_among
from latentedit.pictures.images import list_pictures, read_picture
from latentedit.samples.manifest import UNREADABLE, ContentSource, unreadable_mark
from latentedit.shipped import SHIPPED, recorded, recorded_places

_CACHE_BYTES = 1 << 30


class Contents:
    """Content pictures of an image-to-image generator, each encoded once and kept.

    Args:
        generator: has ``encode(images) -> (content, style z)``.
        source: names and hashes of the pictures, in order.
        paths: of the pictures, in the same order.
    """

    def __init__(self, generator: Generator, source: ContentSource, paths: Sequence[Path]) -> None:
        encode = getattr(generator, "encode", None)
        if not callable(encode):
            raise LatentEditError(
                f"{generator.id} takes no content (it has no encode); leave contents out (--contents)"
            )
        self.source, self.paths = source, tuple(paths)
        self._generator, self._encode, self._size = generator, encode, picture_size(generator)
        self._problems: dict[int, str | None] = {}
        self._encoded: dict[int, Tensor] = {}

    @classmethod
    def find(cls, generator: Generator, contents: str | Path | Sequence[str | Path]) -> Contents:
        """Pictures of a folder, one picture, or a list of paths, in the order of their names.

        Raises:
            LatentEditError: there are none, one is missing or given twice, or the generator has no ``encode``.
        """
        if isinstance(contents, (str, Path)) and Path(contents).is_file():
            contents = [contents]
        if isinstance(contents, (str, Path)):
            folder, paths = _absolute(contents), [_absolute(p) for p in list_pictures(contents)]
        else:
            paths = [_absolute(p) for p in contents]
            if not paths:
                raise LatentEditError("contents is an empty list; give pictures, or leave it out")
            folder = Path(os.path.commonpath([p.parent for p in paths]))
        names = {p.relative_to(folder).as_posix(): p for p in paths}
        if len(names) != len(paths):
            twice = next(p for i, p in enumerate(paths) if p in paths[:i])
            raise LatentEditError(f"content picture {twice} is given twice; give each once")
        ordered = sorted(names.items())
        source = ContentSource(recorded(folder), tuple(_mark(name, path) for name, path in ordered))
        return cls(generator, source, [path for _, path in ordered])

    @classmethod
    def find_again(
        cls, generator: Generator, source: ContentSource, moved: str | Path | None = None, *, samples: Path
    ) -> Contents:
        """The content pictures of a stored run, in its order, checked against their hashes.

        Args:
            generator: has ``encode``.
            source: what the run recorded.
            moved: folder where they are now; None: where they were, or where that is from the samples, or as shipped.
            samples: folder of the run.

        Raises:
            DamagedFileError: one is missing.
            MismatchError: one was changed.
        """
        names, good = [known.rpartition("#")[0] for known in source.pictures], source.readable
        places = _places(source, samples) if moved is None else [Path(moved)]
        folder = next((place for place in places if _holds(place, names, good)), places[0])
        paths = []
        for name, known, is_good in zip(names, source.pictures, good, strict=True):
            path = folder / name
            paths.append(path)
            if not is_good:
                continue
            if not path.is_file():
                raise DamagedFileError(
                    f"content picture {path} is missing; name the folder where those of {samples} are now (--contents)"
                )
            if fingerprinted(name, path) != known:
                raise MismatchError(
                    f"content picture {path} was changed since the run was sampled; "
                    "put the old one back, or sample again"
                )
        return cls(generator, source, paths)

    def seen_from(self, samples: str | Path) -> ContentSource:
        """The source as a run in that folder records it."""
        folder = self.source.folder
        if folder.startswith(SHIPPED):
            return self.source
        try:
            return replace(self.source, beside=Path(os.path.relpath(folder, samples)).as_posix())
        except ValueError:  # on another drive
            return self.source

    def __len__(self) -> int:
        return len(self.paths)

    def mark_unreadable(self, indices: Set[int], *, known: Set[str] = frozenset()) -> None:
        """Mark those of some pictures that cannot be read, which keep their places, in the source; with a warning.

        Args:
            indices: of the pictures to read.
            known: marks of pictures that rows of a run took. Those are not read again; and one that could not be read
                when its rows were sampled stays so for that run, whatever became of it.

        Raises:
            LatentEditError: none of them can be read.
        """
        marks, lost = list(self.source.pictures), {}
        for i in sorted(indices):
            unreadable = unreadable_mark(marks[i])
            if unreadable in known or (marks[i] not in known and self._problem(i) is not None):
                marks[i], lost[self.paths[i]] = unreadable, self._why(i)
        if len(self) == 1 and lost:
            read_picture(self.paths[0], self._size)  # or this is its own error
        self._tell(lost, len(indices), "they keep their places, and their samples have neither pictures nor tags")
        self.source = replace(self.source, pictures=tuple(marks))

    def readable(self, count: int) -> Contents:
        """Without those that cannot be read, as far as the first ``count`` that can; one alone is taken as it is.

        Raises:
            LatentEditError: none can be read.
        """
        if len(self) == 1:
            return self
        kept: list[int] = []
        lost: dict[Path, str] = {}
        for i in range(len(self)):
            if len(kept) < count and (why := self._problem(i)) is not None:
                lost[self.paths[i]] = why
            else:
                kept.append(i)
        if not lost:
            return self
        self._tell(lost, len(self), "they are left out")
        source = replace(self.source, pictures=tuple(self.source.pictures[i] for i in kept))
        return Contents(self._generator, source, [self.paths[i] for i in kept])

    def statuses(self, indices: np.ndarray) -> list[str | None]:
        """Why rows of these contents (n,) have no picture; None of those that have one."""
        good = self.source.readable
        return [None if good[i] else f"content {self.paths[i].name}: {self._why(int(i))}" for i in indices]

    def _problem(self, index: int) -> str | None:
        """Why a picture cannot be read, None where it can; it is read once."""
        if index not in self._problems:
            path = self.paths[index]
            self._problems[index] = unreadable_among([path], lambda path: read_picture(path, self._size)).get(path)
        return self._problems[index]

    def _why(self, index: int) -> str:
        """Why a picture that is marked could not be read."""
        return self._problem(index) or "it could not be read when its samples were made; sample into another folder"

    def _tell(self, lost: Mapping[Path, str], of: int, then: str) -> None:
        tell_unreadable(self.source.folder, of, lost, none_left=len(lost) == of, then=then)

    def __call__(self, indices: np.ndarray) -> Tensor:
        """Content (n, ...) of indices (n,)."""
        rows = {int(i): self._row(int(i)) for i in np.unique(indices)}
        return torch.cat([rows[int(i)] for i in indices])

    @torch.no_grad()
    def _row(self, index: int) -> Tensor:
        if index not in self._encoded:
            # One at a time: what a picture encodes to must not depend on its neighbours.
            content = self._encode(read_picture(self.paths[index], self._size)[None])[0].detach()
            if content.shape[:1] != (1,):
                raise LatentEditError(f"encode gave content of shape {tuple(content.shape)} for one picture")
            # Seeds in a row share their content, so the oldest is the one to forget.
            while self._encoded and (len(self._encoded) + 1) * content.nbytes > _CACHE_BYTES:
                del self._encoded[next(iter(self._encoded))]
            self._encoded[index] = content
        return self._encoded[index]


def fingerprinted(name: str, path: Path) -> str:
    """``name#`` and 12 hexadecimal digits of the sha256 of a file's bytes.

    Raises:
        UnreadablePictureError: it cannot be read.
    """
    try:
        return f"{name}#{sha256_of(path)[:12]}"
    except OSError as error:
        why = error.strerror or str(error)
        raise UnreadablePictureError(path, f"cannot read content picture {path}: {why}", why) from error


def _mark(name: str, path: Path) -> str:
    """The fingerprint, or that there is none."""
    try:
        return fingerprinted(name, path)
    except UnreadablePictureError:
        return name + UNREADABLE


def _places(source: ContentSource, samples: Path) -> list[Path]:
    """Where a run's content pictures may be, the likeliest first."""
    near = [] if source.beside is None else [samples / source.beside]
    return [*recorded_places(source.folder), *near] or [Path(source.folder)]


def _holds(place: Path, names: Sequence[str], wanted: np.ndarray) -> bool:
    return all((place / name).is_file() for name, one in zip(names, wanted, strict=True) if one)


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(path))  # a link to a picture keeps its own name
