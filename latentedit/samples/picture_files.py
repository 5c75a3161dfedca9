"""Pictures of a run's rows as files, for people to look at and to label: ``SEED.png``, as ``csv:`` wants them.

Each file says which row of which run it shows, so that a stopped command goes on, a larger ``n`` adds to a folder, and
pictures of another run are neither taken for these nor overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from latentedit.errors import LatentEditError, UnreadablePictureError
from latentedit.files import remove_temporary_files, visible_files
from latentedit.pictures.opening import text_in
from latentedit.pictures.writing import write_picture
from latentedit.samples.manifest import Manifest

_KEY = "latentedit sample"


class PictureFiles:
    """Pictures of the first rows of a run in a folder.

    Args:
        folder: made when the first picture is written.
        manifest: of the run.
        n: rows to have pictures of.

    Attributes:
        there: seeds whose picture is there.
        wanted: how many rows have one: all whose content could be read.

    Raises:
        LatentEditError: a picture of such a name is of something else, or the folder is a file.
    """

    def __init__(self, folder: str | Path, manifest: Manifest, n: int) -> None:
        self.folder, self.manifest, self.n = Path(folder), manifest, n
        if self.folder.exists() and not self.folder.is_dir():
            raise LatentEditError(f"{folder} is a file; name a folder for the pictures")
        remove_temporary_files(self.folder, "*.png")
        self.there = set(self._checked())
        self.wanted = manifest.pictures_among(n)

    def _checked(self) -> Iterator[int]:
        seeds = range(self.manifest.seed, self.manifest.seed + self.n)
        for file in visible_files(self.folder, "*.png"):
            if file.stem.isdecimal() and (seed := int(file.stem)) in seeds and self._path(seed) == file:
                if _said(file) != self._about(seed):
                    raise LatentEditError(
                        f"{file} is not a picture of these samples; choose another folder, or move it away"
                    )
                yield seed

    @property
    def missing(self) -> int:
        """How many pictures are still to be written."""
        return self.wanted - len(self.there)

    def lacks(self, seeds: np.ndarray) -> np.ndarray:
        """Whether the picture of each seed (k,) is wanted and not there, (k,) bool."""
        wanted = (seeds < self.manifest.seed + self.n) & self.manifest.has_picture(seeds)
        return wanted & ~np.isin(seeds, list(self.there))

    def write(self, seeds: np.ndarray, pixels: np.ndarray) -> None:
        """Write those of pictures (k, H, W, 3) uint8 that are lacking.

        Raises:
            LatentEditError: the disk is full, or the folder cannot be written to.
        """
        for i in np.flatnonzero(self.lacks(seeds)):
            seed = int(seeds[i])
            write_picture(self._path(seed), Image.fromarray(pixels[i]), text={_KEY: self._about(seed)})
            self.there.add(seed)

    def _path(self, seed: int) -> Path:
        return self.folder / f"{seed}.png"

    def _about(self, seed: int) -> str:
        """All that decides what the picture of a row shows."""
        m, content = self.manifest, None
        indices = m.content_indices(np.array([seed]))
        if indices is not None and m.contents is not None:
            content = m.contents.pictures[int(indices[0])]
        row = {"generator": m.generator_id, "seed": seed, "truncation": m.truncation, "label": m.label}
        return json.dumps(row | {"noise": m.noise, "content": content})


def _said(file: Path) -> str | None:
    try:
        return text_in(file, _KEY)
    except UnreadablePictureError:
        return None
