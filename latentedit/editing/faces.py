"""Which faces an edit is done to: seeds, codes, or the style of pictures, with content, class, truncation and noise.

:class:`Faces` says which, as a value; :meth:`Faces.prepare` makes them ready for a generator: codes drawn once,
contents encoded once, pictures decoded and checked a batch at a time. Everything that edits or measures takes faces in
this way; where faces are taken, a range or a list of seeds does as well.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from latentedit.directions.formats import codes_of_generator, read_named_codes
from latentedit.errors import LatentEditError
from latentedit.generators.base import Generator, class_of, content_of_label, per_slot, picture_size
from latentedit.pictures.folder import tell_unreadable, unreadable_among
from latentedit.pictures.images import list_pictures, read_picture, read_pixels
from latentedit.pictures.video import is_video, split_time
from latentedit.samples.contents import Contents, fingerprinted
from latentedit.samples.fill import decode, draw

_RANGE = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", re.ASCII)

FacesLike: TypeAlias = "Faces | Sequence[int]"
"""What is taken where faces are: faces, or seeds."""


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces to edit, one a seed, a code or a picture; exactly one of these says which.

    Attributes:
        seeds: one a face.
        codes: (n, dim) or (n, layers, dim), or a file of them that
            :func:`latentedit.directions.formats.read_named_codes` reads.
        style: a picture, or a folder of them, for generators that read styles.
        content: for image-to-image generators: a tensor with one row for all or one a face, a picture, a frame of a
            video (``clip.mp4#t=12.5``), or a folder (or :class:`~latentedit.samples.contents.Contents`) whose pictures
            the faces take in turn; None: the generator's own.
        label: class, for conditional generators.
        truncation: of seeds: 1 for none, towards 0 for the mean code.
        noise: "stored", "none" or a seed, as :meth:`~latentedit.generators.base.Generator.decode` takes it.
        count: of codes and styles, only that many first ones.
        every_content: every style is shown with each content picture, rather than the next one: a character sheet.
        names: of codes that are a tensor, as sheets show them; numbers where there are none.

    Raises:
        LatentEditError: none or several of seeds, codes and style; a seed or noise that is none.
    """

    seeds: Sequence[int] = ()
    codes: Tensor | str | Path | None = None
    style: str | Path | None = None
    content: Tensor | Contents | str | Path | None = None
    label: int | None = None
    truncation: float = 1.0
    noise: str | int = "stored"
    count: int | None = None
    every_content: bool = False
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.seeds, range):
            object.__setattr__(self, "seeds", tuple(int(seed) for seed in self.seeds))
        given = [name for name in ("seeds", "codes", "style") if not _empty(getattr(self, name))]
        if len(given) != 1:
            came = " and ".join(given) or "none of them"
            raise LatentEditError(f"faces are given by seeds, codes or style; this has {came}")
        for seed in (min(self.seeds), max(self.seeds)) if self.seeds else ():
            if not 0 <= seed < 2**32:
                raise LatentEditError(f"seed {seed} is outside 0 ... {2**32 - 1}")
        if self.noise not in ("stored", "none") and (isinstance(self.noise, (str, bool)) or int(self.noise) < 0):
            raise LatentEditError(f"noise is {self.noise!r}; write 'stored', 'none' or a seed, 0 or more")
        if self.names and (not isinstance(self.codes, Tensor) or len(self.names) != len(self.codes)):
            raise LatentEditError(f"{len(self.names)} names; give as many as there are codes in a tensor, or none")

    @classmethod
    def of(cls, faces: FacesLike) -> Faces:
        """Faces as they are, or those of seeds."""
        return faces if isinstance(faces, Faces) else cls(seeds=faces)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Faces) and all(
            _same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)
        )

    def __hash__(self) -> int:
        return hash((tuple(self.seeds), str(self.style), self.label, self.truncation, self.noise, self.count))

    def prepare(self, generator: Generator, *, batch_size: int = 32) -> PreparedFaces:
        """These faces, ready to be edited and decoded.

        Raises:
            LatentEditError: content that cannot be read or a generator that takes none; codes of another shape; a
                generator that reads no styles; pictures that cannot be read; a batch size below 1.
        """
        return PreparedFaces(self, generator, batch_size)

    def document(self) -> dict[str, Any]:
        """What a report says of them; JSON values."""
        found: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        whole = isinstance(self.seeds, range) and self.seeds.step == 1
        found["seeds"] = [self.seeds[0], self.seeds[-1]] if whole else list(self.seeds)
        for name in ("codes", "style", "content"):
            if isinstance(value := found[name], Tensor):
                found[name] = f"tensor {tuple(value.shape)}"
            elif value is not None:
                found[name] = str(value.source if isinstance(value, Contents) else value)
        return {
            name: value
            for name, value in found.items()
            if value is not None and value is not False and value not in ([], ())
        }


class PreparedFaces:
    """Faces of one generator; made by :meth:`Faces.prepare`.

    Attributes:
        faces: which they are.
        generator: whose.
        batch_size: pictures decoded at once.
        names: of each face, as sheets and messages show them.
    """

    def __init__(self, faces: Faces, generator: Generator, batch_size: int) -> None:
        if batch_size < 1:
            raise LatentEditError(f"batch size {batch_size}; decode one picture or more at once")
        self.faces, self.generator, self.batch_size = faces, generator, batch_size
        self._given: Tensor | None = None
        self._drawn: dict[int, Tensor] = {}  # drawing a code may cost as much as decoding it; a code is small
        self._seeds = np.asarray(faces.seeds, np.int64)
        self.names: Sequence[str] = [f"seed {seed}" for seed in faces.seeds]
        if faces.style is not None:
            self._given, self.names = codes_of_pictures(generator, faces.style, count=faces.count)
        elif isinstance(faces.codes, Tensor):
            self._given = faces.codes[: faces.count]
            self.names = faces.names[: faces.count] or [f"code {i}" for i in range(len(self._given))]
        elif faces.codes is not None:
            names, read = read_named_codes(faces.codes)
            layers = len(generator.layers)
            names, read = codes_of_generator(names, read, layers=layers, dim=generator.dim, where=str(faces.codes))
            self._given, self.names = read[: faces.count], names[: faces.count]
        if self._given is not None:
            per_slot(self._given, len(generator.layers), generator.dim)  # or it says what fits
        else:
            class_of(generator, faces.label)
        self._content, self._paths = self._contents()
        if faces.every_content and self.several_contents:
            m = len(self._paths)
            self.names, self._seeds = [name for name in self.names for _ in range(m)], self._seeds.repeat(m)
            self._given = None if self._given is None else self._given.repeat_interleave(m, 0)

    def __len__(self) -> int:
        return len(self.names)

    def batches(self) -> Iterator[slice]:
        """Rows, a batch at a time."""
        for start in range(0, len(self), self.batch_size):
            yield slice(start, min(start + self.batch_size, len(self)))

    def codes(self, rows: slice) -> Tensor:
        """Codes (n, dim) or (n, layers, dim) of a batch's rows, drawn once."""
        if self._given is not None:
            return self._given[rows]
        if rows.start not in self._drawn or len(self._drawn[rows.start]) != rows.stop - rows.start:
            self._drawn[rows.start] = draw(
                self.generator, self._seeds[rows], label=self.faces.label, truncation=self.faces.truncation
            )
        return self._drawn[rows.start]

    @torch.no_grad()
    def decode(self, codes: Tensor, rows: slice) -> Tensor:
        """Pictures (n, 3, H, W) in [-1, 1] of codes of these rows, with the content and noise of the faces.

        Raises:
            LatentEditError: pictures of another shape, or not finite.
        """
        return decode(
            self.generator, codes, content=self._content(rows), noise=self.faces.noise, names=self.names[rows]
        )

    def all_codes(self) -> Tensor:
        """Codes (n, dim) or (n, layers, dim) of all faces."""
        return torch.cat([self.codes(rows) for rows in self.batches()])

    def pictures(self, codes: Tensor | None = None) -> Tensor:
        """Pictures (n, 3, H, W) of all faces on the processor, of their own codes or of these, a batch at a time."""
        given = self.all_codes() if codes is None else codes
        return torch.cat([self.decode(given[rows], rows).cpu() for rows in self.batches()])

    def identity(self, i: int) -> dict[str, Any]:
        """What makes face ``i`` what it is, its generator apart; JSON values, found without drawing or decoding it."""
        found: dict[str, Any] = {"noise": self.faces.noise}
        if self._given is not None:
            found["code"] = _digest(self._given[i])
        else:
            found |= {"seed": int(self._seeds[i]), "truncation": self.faces.truncation}
        if self.faces.label is not None:
            found["label"] = self.faces.label
        if isinstance(self.faces.content, Tensor):
            found["content"] = _digest(self.faces.content[i if len(self.faces.content) > 1 else 0])
        elif self._paths:
            found["content"] = self._content_marks[i % len(self._paths)]
        return found

    @functools.cached_property
    def _content_marks(self) -> list[str]:
        """Name and check sum of each content picture, with the time in a video."""
        files = [split_time(path) if is_video(path) else (Path(path), 0.0) for path in self._paths]
        return [fingerprinted(file.name, file) + (f"#t={time:g}" if time else "") for file, time in files]

    def content_path(self, i: int) -> Path | None:
        """The picture that face ``i`` has its content from, None for none."""
        return Path(self._paths[i % len(self._paths)]) if self._paths else None

    @property
    def of_each_style(self) -> int:
        """Faces that share a code because each of several contents is shown with it; they follow each other."""
        return len(self._paths) if self.faces.every_content and self.several_contents else 1

    @property
    def several_contents(self) -> bool:
        """Whether there are several content pictures, which the faces take in turn."""
        return len(self._paths) > 1

    @property
    def one_style(self) -> bool:
        """Whether all faces have the same code."""
        codes = self.all_codes()
        return bool((codes == codes[:1]).all())

    @property
    def content_groups(self) -> np.ndarray | None:
        """Which faces (n,) share a content picture, numbered in turn; None when all do, or none do."""
        m, n = len(self._paths), len(self)
        return np.arange(n) % m if 1 < m < n else None

    @property
    def content_pictures(self) -> Tensor | None:
        """The pictures that contents came from, (1, 3, H, W) for all faces or (n, 3, H, W); None when from none."""
        if not self._paths:
            return None
        shown = [read_picture(path, picture_size(self.generator)) for path in self._paths[: len(self)]]
        if len(self._paths) == 1:
            return torch.stack(shown)
        return torch.stack([shown[i % len(shown)] for i in range(len(self))])

    def _contents(self) -> tuple[Callable[[slice], Tensor | None], list[str | Path]]:
        """Content of rows, and the pictures that it comes from."""
        content, n = self.faces.content, len(self)
        if content is None:
            fixed = content_of_label(self.generator, self.faces.label)
            return lambda rows: fixed, []
        if isinstance(content, Tensor):
            if len(content) not in (1, n):
                raise LatentEditError(
                    f"content has {len(content)} rows for {n} faces; give one row for all, or one a face"
                )
            given = content
            return lambda rows: given if len(given) == 1 else given[rows], []
        encode = getattr(self.generator, "encode", None)
        if encode is None:
            raise LatentEditError(f"{self.generator.id} makes pictures from codes alone; it takes no content picture")
        if not isinstance(content, Contents) and is_video(content):
            frame = encode(read_picture(content, picture_size(self.generator))[None])[0]
            return lambda rows: frame, [content]
        found = content if isinstance(content, Contents) else Contents.find(self.generator, content)
        found = found.readable(len(found) if self.faces.every_content else n)
        if len(found) == 1:
            return lambda rows: found(np.zeros(1, int)), [*found.paths]
        return lambda rows: found(np.arange(rows.start, rows.stop) % len(found)), [*found.paths]


def codes_of_pictures(
    generator: Generator, pictures: str | Path, *, count: int | None = None
) -> tuple[Tensor, tuple[str, ...]]:
    """Style codes (n, dim) of a picture, or of the ``count`` first of a folder, and the files' names.

    For generators that read styles: by ``encode_reference(images) -> z``, ``invert(images) -> codes``, or the
    second of what ``encode(images)`` gives.

    Raises:
        LatentEditError: the generator cannot, or a picture cannot be read.
    """
    files = _readable(pictures, count) if Path(pictures).is_dir() else [Path(pictures)]
    images = torch.stack([read_picture(file, picture_size(generator)) for file in files])
    names = tuple(file.name for file in files)
    if (invert := getattr(generator, "invert", None)) is not None:
        return invert(images), names
    if (reference := getattr(generator, "encode_reference", None)) is not None:
        return generator.map(reference(images)), names
    if (encode := getattr(generator, "encode", None)) is not None:
        return generator.map(encode(images)[1]), names
    raise LatentEditError(f"{generator.id} cannot read styles of pictures; it has no encoder")


def _readable(folder: str | Path, count: int | None) -> list[Path]:
    """The first pictures of a folder that can be read, up to so many; the others before them are told."""
    good: list[Path] = []
    bad: dict[Path, str] = {}
    paths = list_pictures(folder)
    for path in paths:
        if count is not None and len(good) == count:
            break
        found = unreadable_among([path], read_pixels)
        bad |= found
        good += [] if found else [path]
    tell_unreadable(str(folder), len(paths), bad, none_left=not good)
    return good


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds as they are typed, ``3,7,12-15``: numbers and ranges, whose ends count.

    Raises:
        LatentEditError: anything else, a range that goes down, a seed that is named twice, or more than a million.
    """
    found: list[int] = []
    for part in text.split(","):
        parsed = _RANGE.fullmatch(part)
        if parsed is None:
            raise LatentEditError(f"seeds are {text!r}; write numbers and ranges with commas between them: 3,7,12-15")
        first, last = int(parsed[1]), int(parsed[2] or parsed[1])
        if last < first:
            raise LatentEditError(f"seeds {part.strip()} go down; write {last}-{first}")
        if len(found) + last - first >= 1_000_000:
            raise LatentEditError(f"seeds {text!r} are more than a million; name fewer")
        found += range(first, last + 1)
    if len(set(found)) < len(found):
        (twice, _), *_ = Counter(found).most_common(1)
        raise LatentEditError(f"seed {twice} is named twice in {text!r}; name each once")
    return tuple(found)


def _digest(values: Tensor) -> str:
    """12 hexadecimal digits of the sha256 of a tensor's values as float32."""
    array = np.ascontiguousarray(values.detach().cpu().numpy(), "<f4")
    return hashlib.sha256(array.tobytes()).hexdigest()[:12]


def _empty(value: Any) -> bool:
    return value is None or (not isinstance(value, (Tensor, str, Path)) and len(value) == 0)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and torch.equal(a, b)
    return list(a) == list(b) if isinstance(a, (range, tuple)) else bool(a == b)
