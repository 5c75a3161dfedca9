"""Seeds to stored style codes and tags.

:func:`sample` draws the code of each seed, decodes it, lets a tagger score the picture, and stores
both shard by shard, as :mod:`latentedit.store` says; pictures touch the disk only with
``keep_images``. Without a tagger and without ``keep_images`` nothing is decoded.

* Row s is seed s. Its code depends on the seed alone, and its content is
  ``contents[(s // styles_per_content) % len(contents)]`` in name order. So batch size, shard size and
  interruptions do not change what is stored (codes to 1e-6), and a larger ``n`` extends a run.
* The same call again keeps the finished shards and does the rest. It also redoes a shard whose file
  was deleted, and labels an older run with a tagger that it lacks.
* A folder that holds another run is refused in a line that names what differs.

:func:`decode_and_score` is the loop that :mod:`latentedit.tagging` shares.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import LatentEditError
from latentedit.files import sha256_of
from latentedit.generators.base import Generator, content_of_label
from latentedit.images import list_pictures, read_picture, to_uint8
from latentedit.manifest import ContentSource, Manifest
from latentedit.store import SCORE_FLOOR, Samples, open_samples
from latentedit.taggers.base import Tagger
from latentedit.writer import Writer, open_writer

Progress = Callable[[int, int], None]
"""Called with finished rows and all rows."""
_CACHE_BYTES = 1 << 30


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
    progress: Progress | None = None,
) -> Samples:
    """Store the codes of seeds ``seed ... seed + n - 1``, and a tagger's scores of what they decode to.

    Args:
        generator: decodes the codes.
        out: folder of the run; made when missing, resumed or extended when it holds the same run.
        tagger: scores the pictures; None stores codes alone.
        n: rows to have in the end.
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
        progress: called with finished rows and all rows, first with what is there already.

    Returns:
        The stored run.

    Raises:
        MismatchError: ``out`` holds another run.
        DamagedFileError: a finished shard does not fit the manifest.
        LatentEditError: an argument is out of range, a picture cannot be read, the generator or the
            tagger returns something of another shape or not finite, or the folder cannot be written to.
    """
    _check_whole(n=n, styles_per_content=styles_per_content, batch_size=batch_size, shard_size=shard_size)
    if seed < 0 or seed + n > 2**32:
        raise LatentEditError(f"seeds {seed} ... {seed + n - 1} leave 0 ... {2**32 - 1}; choose another seed or n")
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
    wanted = Manifest(
        generator_id=generator.id,
        generator=generator_name,
        dim=int(generator.dim),
        layers=tuple(generator.layers),
        seed=int(seed),
        truncation=float(truncation),
        label=None if label is None else int(label),
        noise=noise if isinstance(noise, str) else int(noise),
        contents=pictures.source if pictures else None,
        styles_per_content=int(styles_per_content),
        shard_size=int(shard_size),
        images=bool(keep_images),
    )
    with open_writer(out, wanted) as writer:
        if writer.manifest.rows > n:
            raise LatentEditError(
                f"{out} holds {writer.manifest.rows} rows, more than n={n}; "
                f"open it as it is, ask for more, or choose another folder"
            )
        fill(writer, Job(generator, tagger, pictures, batch_size, tagger_name, progress), n)
    return open_samples(out)


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
            raise LatentEditError(f"{generator.id} takes no content (it has no encode); leave contents out")
        self.source, self._paths = source, list(paths)
        self._encode, self._size = encode, generator.resolution
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
        source = ContentSource(str(folder), tuple(fingerprinted(name, path) for name, path in ordered))
        return cls(generator, source, [path for _, path in ordered])

    def check(self, indices: np.ndarray) -> None:
        """Read the pictures of these indices, so that a bad one is found before the work.

        Raises:
            LatentEditError: one cannot be read.
        """
        for index in np.unique(indices):
            read_picture(self._paths[index], self._size)

    def __call__(self, indices: np.ndarray) -> Tensor:
        """Content (n, ...) of indices (n,)."""
        rows = {int(i): self._row(int(i)) for i in np.unique(indices)}
        return torch.cat([rows[int(i)] for i in indices])

    @torch.no_grad()
    def _row(self, index: int) -> Tensor:
        if index not in self._encoded:
            # One at a time: what a picture encodes to must not depend on its neighbours.
            content = self._encode(read_picture(self._paths[index], self._size)[None])[0].detach()
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
        LatentEditError: it cannot be read.
    """
    try:
        return f"{name}#{sha256_of(path)[:12]}"
    except OSError as error:
        raise LatentEditError(f"cannot read content picture {path}: {error.strerror}") from error


@dataclass(frozen=True)
class Step:
    """A shard that is not finished: its number, its rows, and what it lacks."""

    number: int
    rows: int
    codes: bool
    tags: bool


@dataclass(frozen=True)
class Job:
    """What :func:`fill` works with."""

    generator: Generator
    tagger: Tagger | None
    contents: Contents | None
    batch_size: int
    tagger_name: str | None
    progress: Progress | None


@dataclass(frozen=True)
class _Done:
    codes: np.ndarray
    scores: np.ndarray | None
    images: list[bytes]


def missing_steps(writer: Writer, n: int, tagger: Tagger | None) -> list[Step]:
    """The shards of n rows that lack codes, or the tagger's tags, in order.

    Raises:
        DamagedFileError: a finished shard does not fit the manifest.
    """
    size = writer.manifest.shard_size
    steps = []
    for number in range(-(-n // size)):
        rows = min(size, n - number * size)
        codes = not writer.has_codes(number, rows)
        tags = tagger is not None and (codes or not writer.has_tags(tagger.id, number, rows))
        if codes or tags:
            steps.append(Step(number, rows, codes, tags))
    return steps


def fill(writer: Writer, job: Job, n: int) -> None:
    """Bring a run to n rows, scored by the tagger: every check first, then shard by shard what it lacks."""
    manifest, tagger = writer.manifest, job.tagger
    steps = missing_steps(writer, n, tagger)
    if job.contents is not None:
        for step in steps:
            indices = manifest.content_indices(manifest.seeds(step.number, step.rows))
            assert indices is not None
            job.contents.check(indices)
    if tagger is not None:
        writer.add_tagger(tagger.id, name=job.tagger_name, tags=tagger.tags, threshold=float(tagger.threshold))
    done = n - sum(step.rows for step in steps)
    report = job.progress or (lambda done, total: None)
    report(done, n)
    for step in steps:
        codes, scores, images = [], [], []
        for batch in _run(writer, job, step):
            codes.append(batch.codes)
            scores += [batch.scores] if batch.scores is not None else []
            images += batch.images
            done += len(batch.codes)
            report(done, n)
        writer.write_shard(
            step.number,
            codes=np.concatenate(codes) if step.codes else None,
            images=images if manifest.images else None,
            tagger_id=tagger.id if tagger else None,
            scores=np.concatenate(scores) if scores else None,
        )


def _run(writer: Writer, job: Job, step: Step) -> Iterator[_Done]:
    """Draw or read the codes of a shard, decode and score them where that is wanted, batch by batch."""
    manifest = writer.manifest
    seeds = manifest.seeds(step.number, step.rows)
    indices = manifest.content_indices(seeds)
    stored = None if step.codes else writer.read_codes(step.number)
    keep = manifest.images and step.codes
    for start in range(0, step.rows, job.batch_size):
        rows = slice(start, start + job.batch_size)
        if stored is None:
            codes = draw(job.generator, seeds[rows], label=manifest.label, truncation=manifest.truncation)
        else:
            codes = torch.from_numpy(stored[rows].copy())
        scores, images = None, []
        if step.tags or keep:
            content = content_of_label(job.generator, manifest.label)
            if job.contents is not None and indices is not None:
                content = job.contents(indices[rows])
            tagger = job.tagger if step.tags else None
            scores, pictures = decode_and_score(
                job.generator, codes, tagger, content=content, noise=manifest.noise, seeds=seeds[rows]
            )
            images = [_png(pixels) for pixels in to_uint8(pictures)] if keep else []
        yield _Done(codes.numpy(), scores, images)


@torch.no_grad()
def draw(generator: Generator, seeds: np.ndarray, *, label: int | None, truncation: float) -> Tensor:
    """Codes (n, dim) float32 on the CPU of seeds (n,).

    Raises:
        LatentEditError: the generator's codes have another shape, or are not finite.
    """
    codes = generator.sample_codes(seeds.tolist(), label=label, truncation=truncation)
    codes = codes.detach().float().cpu().contiguous()
    if codes.shape != (len(seeds), generator.dim):
        raise LatentEditError(
            f"{generator.id} gave codes of shape {tuple(codes.shape)} for {len(seeds)} seeds; "
            f"its dim asks for ({len(seeds)}, {generator.dim})"
        )
    finite = torch.isfinite(codes).all(1)
    if not finite.all():
        raise LatentEditError(
            f"{generator.id} gave a code with NaN or infinity for seed {seeds[int(finite.int().argmin())]}"
        )
    return codes


@torch.no_grad()
def decode_and_score(
    generator: Generator,
    codes: Tensor,
    tagger: Tagger | None,
    *,
    content: Tensor | None,
    noise: str | int,
    seeds: np.ndarray,
) -> tuple[np.ndarray | None, Tensor]:
    """Decode one batch of codes (n, dim) and score the pictures, clamped to [-1, 1].

    Args:
        generator: decodes.
        codes: (n, dim) float32.
        tagger: scores; None only decodes.
        content: (n, ...), or None for the generator's default.
        noise: as :meth:`Generator.decode` takes it.
        seeds: (n,) of the codes, for messages.

    Returns:
        Scores (n, tags) float32 in [0, 1] or None, and pictures (n, 3, H, W) float32.

    Raises:
        LatentEditError: pictures or scores have another shape, range, or are not finite.
    """
    n = len(codes)
    images = generator.decode(codes, content=content, noise=noise).float()
    if images.ndim != 4 or images.shape[:2] != (n, 3):
        raise LatentEditError(f"{generator.id} decoded {n} codes to shape {tuple(images.shape)}, not ({n}, 3, H, W)")
    finite = torch.isfinite(images).flatten(1).all(1)
    if not finite.all():
        raise LatentEditError(f"{generator.id} decoded seed {seeds[int(finite.int().argmin())]} to NaN or infinity")
    images = images.clamp(-1, 1)
    if tagger is None:
        return None, images
    scores = torch.as_tensor(tagger.score(images)).detach().float().cpu()
    if scores.shape != (n, len(tagger.tags)):
        raise LatentEditError(
            f"{tagger.id} gave scores of shape {tuple(scores.shape)} for {n} pictures; "
            f"its {len(tagger.tags)} tags ask for ({n}, {len(tagger.tags)})"
        )
    bad = ~((scores >= -1e-3) & (scores <= 1 + 1e-3))  # NaN is neither
    if bad.any():
        row, column = (int(i) for i in bad.nonzero()[0])
        raise LatentEditError(
            f"{tagger.id} scored {tagger.tags[column]!r} of seed {seeds[row]} as {float(scores[row, column])}; "
            "scores must be in [0, 1]"
        )
    return scores.clamp(0, 1).numpy(), images


def check_tagger(tagger: Tagger) -> None:
    """Check that a tagger's scores can be stored.

    Raises:
        LatentEditError: it has no tags, too many, one twice, or a threshold whose scores are not stored.
    """
    tags = list(tagger.tags)
    if not 1 <= len(tags) <= 2**16:
        raise LatentEditError(f"{tagger.id} has {len(tags)} tags; it must have 1 to {2**16}")
    if len(set(tags)) != len(tags):
        twice = next(tag for i, tag in enumerate(tags) if tag in tags[:i])
        raise LatentEditError(f"{tagger.id} has the tag {twice!r} twice; names must differ")
    if not SCORE_FLOOR < tagger.threshold <= 1:
        raise LatentEditError(f"{tagger.id} has threshold {tagger.threshold}; it must be in ({SCORE_FLOOR}, 1]")


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(path))  # a link to a picture keeps its own name


def _check_whole(**values: int) -> None:
    for name, value in values.items():
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise LatentEditError(f"{name} is {value}; it must be a whole number from 1 on")


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
