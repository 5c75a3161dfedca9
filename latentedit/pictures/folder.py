"""Folders of pictures, some of which cannot be read: those are named, and the rest is done."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import overload

from torch import Tensor

from latentedit.errors import LatentEditError, UnreadablePictureError, UnreadablePictures, unreadable
from latentedit.pictures.images import check_picture, list_pictures, read_picture, read_pixels


class PictureFolder(Sequence[Tensor]):
    """The pictures of a folder in name order, each read when it is asked for, in [-1, 1].

    Those that cannot be read are told in a warning: at once as far as their headers say, the others by :meth:`tell`.

    Args:
        folder: of pictures; subfolders are not entered.
        size: side of the square that is read, or height and width; None: as it is, (3, H, W).

    Attributes:
        paths: of all pictures.
        unreadable: path → why that picture cannot be read, as far as that is known.

    Raises:
        LatentEditError: no such folder, or no picture in it that can be read.
    """

    def __init__(self, folder: str | Path, size: int | tuple[int, int] | None) -> None:
        self.paths, self.size, self._folder = list_pictures(folder), size, str(folder)
        self.unreadable = unreadable_among(self.paths)
        self._told = 0
        self.tell()

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...

    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self._read(path) for path in self.paths[index]]
        return self._read(self.paths[index])

    def get(self, index: int) -> Tensor | None:
        """The picture at a place; None where it cannot be read."""
        path = self.paths[index]
        if path not in self.unreadable:
            try:
                return self._read(path)
            except UnreadablePictureError as error:
                self.unreadable[path] = error.why
        return None

    def readable(self, count: int) -> list[int]:
        """Places of the first pictures that can be read, up to so many; they are read to know."""
        found = list(islice((i for i in range(len(self)) if self.get(i) is not None), count))
        self.tell()
        return found

    def tell(self) -> None:
        """Warn of pictures that turned out to be unreadable since it did so last.

        Raises:
            LatentEditError: none of the folder can be read.
        """
        none_left = len(self.unreadable) == len(self)
        told, self._told = 0 if none_left else self._told, len(self.unreadable)
        tell_unreadable(self._folder, len(self), dict(list(self.unreadable.items())[told:]), none_left=none_left)

    def _read(self, path: Path) -> Tensor:
        return read_pixels(path).float() / 127.5 - 1 if self.size is None else read_picture(path, self.size)


def unreadable_among(paths: Iterable[Path], read: Callable[[Path], object] = check_picture) -> dict[Path, str]:
    """Which pictures cannot be read, and why; as far as their headers say, or by another way to read them."""
    found = {}
    for path in paths:
        try:
            read(path)
        except UnreadablePictureError as error:
            found[path] = error.why
    return found


def tell_unreadable(
    where: str, of: int, why: Mapping[Path, str], *, none_left: bool, then: str = "they are left out"
) -> None:
    """Warn of pictures that cannot be read, where there are any; arguments as of :class:`UnreadablePictures`.

    Raises:
        LatentEditError: none is left.
    """
    named = {str(path): reason for path, reason in why.items()}
    if none_left:
        raise LatentEditError(f"no picture of {where} is left: {unreadable(named, of)}")
    if named:
        warnings.warn(UnreadablePictures(where, of, named, then=then), stacklevel=3)
