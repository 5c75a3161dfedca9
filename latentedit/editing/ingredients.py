"""Files that a picture was made with: told by their sums, and found again where they are now."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.files import sha256_of, visible_files
from latentedit.pictures.images import list_pictures
from latentedit.pictures.video import split_time
from latentedit.registry import readings, split_name
from latentedit.shipped import shipped

SHIPPED = "shipped"
"""The name of what ships, where a file is named."""
OWN = Path("directions")
"""Where one's own directions and priors are looked for."""
EDITORS = ("editor", "against")
"""Roles of files of editors."""
ROLES = ("content", "style", "codes")
"""Roles of files of faces."""
_PLACES = {
    "editor": ("directions",),
    "against": ("directions",),
    "content": ("data/contents", "data/test-contents", "data"),
}


@dataclass(frozen=True)
class Ingredient:
    """A file, or a folder of pictures, that a picture was made with.

    Attributes:
        role: "editor", "against" (a second editor's), "content", "style" or "codes".
        name: as typed, or "shipped".
        sha256: 64 hexadecimal digits: of the file; of a folder over the names and sums of its pictures.
    """

    role: str
    name: str
    sha256: str

    @classmethod
    def of(cls, role: str, name: str | Path, path: Path | None = None) -> Ingredient:
        """What a file is at present; ``path`` where it is, when the name does not say.

        Raises:
            LatentEditError: it cannot be read.
        """
        return cls(role, str(name), _sum_of(Path(name) if path is None else path))

    @property
    def id(self) -> str:
        """Last part of the name, and the first 12 digits of the sum."""
        return f"{PurePath(self.name).name}#{self.sha256[:12]}"

    def find(self, recipe: Path | None) -> Path:
        """Where it is now: where it was, beside the recipe, in ``./directions``, or among what ships.

        Args:
            recipe: the file that names it, if there is one.

        Raises:
            DamagedFileError: nowhere, or only files of another content.
        """
        others = []
        for place in self._places(None if recipe is None else recipe.parent):
            if place.is_file() or (place.is_dir() and self.role not in EDITORS):
                try:
                    if _sum_of(place) == self.sha256:
                        return place
                except LatentEditError:
                    continue
                others += [str(place)] * (place.name == split_time(self.name)[0].name)
        option = "directions (or --prior)" if self.role == "editor" else self.role
        ships = f"{self.name}, which ships with another version of latentedit," if self.name == SHIPPED else self.name
        came = f", and {others[0]} is another one" if others and self.name != SHIPPED else ""
        raise DamagedFileError(
            f"{ships} of the recipe ({self.role}, sha256 {self.sha256[:12]}) is not found{came}; put it beside the "
            f"recipe, or name it with --{option}"
        )

    def _places(self, folder: Path | None) -> Iterator[Path]:
        name = split_time(self.name)[0]
        if self.name != SHIPPED:
            yield name
            if folder is not None:
                yield folder / name.name
                yield from (place / name for place in (folder, *folder.resolve().parents))
            yield OWN / name.name
        for place in _PLACES.get(self.role, ()):
            with suppress(DamagedFileError):  # an installation that lacks it
                home = shipped(place)
                yield from visible_files(home, "*.safetensors") if self.role in EDITORS else (home / name.name, home)

    def named(self, found: Path) -> str:
        """What names the file that was found, at the time of a video that the name has."""
        return f"{found}{self.name.removeprefix(str(split_time(self.name)[0]))}"


def found_name(name: str, recipe: Path | None) -> str:
    """A generator's name with its file where that is now: where it was, beside the recipe, or in the folders above it.

    Whether it is the same is for its id to tell.
    """
    kind, _, rest = name.partition(":")
    if not rest or recipe is None or os.path.exists(split_name(name)[2]):
        return name
    folder = recipe.parent
    for path, options in readings(rest):
        for place in (folder / Path(path).name, *(one / path for one in (folder, *folder.resolve().parents))):
            if path and os.path.exists(place):
                return f"{kind}:{place}{options and f'?{options}'}"
    return name


def found_generator(name: str, file: Path) -> str:
    """A generator's name as a file or folder of ours has it, with its own file where that is now; :func:`found_name`.

    Raises:
        LatentEditError: it is at none of these places.
    """
    kind, _, argument, _ = split_name(name)
    path = Path(argument)
    if not argument or os.path.exists(path) or not (path.suffix or len(path.parts) > 1):
        return name
    found = found_name(name, file / "manifest.json" if file.is_dir() else file)
    if found == name:
        raise LatentEditError(
            f"the generator of {file} is {name}, and there is no {path} here nor near {file}; say where it is: "
            f"--generator {kind}:PATH"
        )
    return found


def _sum_of(path: Path) -> str:
    """Hexadecimal sha256 of a file, of a video whose frame is named, or over the names and sums of a folder's pictures.

    Raises:
        LatentEditError: it cannot be read.
    """
    try:
        if not path.is_dir():
            return sha256_of(split_time(path)[0])
        told = "".join(f"{one.name}\0{sha256_of(one)}\n" for one in list_pictures(path))
        return hashlib.sha256(told.encode()).hexdigest()
    except OSError as error:
        raise LatentEditError(f"cannot read {path}: {error.strerror or error}") from error
