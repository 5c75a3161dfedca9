"""Bringing a stored run to a number of rows: the loop that sampling and tagging share.

Where there is a core to spare, a worker thread draws, decodes and prepares the next batch while the tagger's network
scores this one. What is stored does not depend on that, nor on batch size (codes to 1e-6, scores to 1e-5).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import LatentEditError
from latentedit.generators.base import Generator, content_of_label
from latentedit.generators.probe import probe_of
from latentedit.pictures.images import to_uint8
from latentedit.pictures.pieces import in_pieces
from latentedit.samples.contents import Contents
from latentedit.samples.manifest import Manifest
from latentedit.samples.picture_files import PictureFiles
from latentedit.samples.store import Samples
from latentedit.samples.tables import SCORE_FLOOR
from latentedit.samples.writer import Place, Writer
from latentedit.taggers.base import Tagger, thresholds_of
from latentedit.taggers.prefetch import feed, halves

Progress = Callable[[int, int], None]
"""Called with finished rows and all rows."""


@dataclass(frozen=True)
class Step:
    """A shard that is not finished: its number, its rows, and how many of them have codes, and tags, already."""

    number: int
    rows: int
    coded: int
    tagged: int
    """As many as ``rows`` where no tags are wanted."""

    @property
    def done(self) -> int:
        """Rows that lack nothing."""
        return min(self.coded, self.tagged)

    def pieces(self, size: int) -> Iterator[tuple[slice, bool]]:
        """The rows that lack something, at most that many at once, and whether they have codes already."""
        for start, stop, coded in ((self.done, self.coded, True), (self.coded, self.rows, False)):
            for first in range(start, stop, size):
                yield slice(first, min(first + size, stop)), coded


@dataclass(frozen=True)
class Job:
    """What :func:`fill` works with."""

    generator: Generator
    tagger: Tagger | None
    contents: Contents | None
    batch_size: int
    tagger_name: str | None
    progress: Progress | None
    files: PictureFiles | None = None
    """Where to write the pictures that are decoded on the way, as files."""


@dataclass(frozen=True)
class _Decoded:
    """A batch of rows: seeds (n,), codes (n, dim), and where they are wanted, prepared pictures and PNG files.

    Rows whose content could not be read have no picture: they are not among the prepared ones, their file is None.
    """

    seeds: np.ndarray
    codes: Tensor
    prepared: Any
    images: list[bytes | None]
    status: Sequence[str | None]
    """Why each row (n,) has no picture; None where it has one."""
    coded: bool
    """Whether the codes are stored already."""


def missing_steps(writer: Writer, n: int, tagger: Tagger | None) -> list[Step]:
    """The shards of n rows that lack codes, or the tagger's tags, in order.

    Raises:
        DamagedFileError: a finished shard does not fit the manifest.
    """
    size = writer.manifest.shard_size
    steps = []
    for number in range(-(-n // size)):
        rows = min(size, n - number * size)
        coded = writer.coded(number)
        tagged = rows if tagger is None else min(writer.tagged(tagger.id, number), coded)
        step = Step(number, rows, coded, tagged)
        if step.done < rows:
            steps.append(step)
    return steps


def fill(writer: Writer, job: Job, n: int) -> None:
    """Bring a run to n rows, scored by the tagger: every check first, then shard by shard what it lacks."""
    manifest, tagger = writer.manifest, job.tagger
    steps = missing_steps(writer, n, tagger)
    if tagger is not None:
        if (check_rows := getattr(tagger, "check_rows", None)) is not None:
            seeds = manifest.seed + np.arange(n)
            check_rows(seeds, content_names(manifest, seeds))
        writer.add_tagger(
            tagger.id, name=job.tagger_name, tags=tagger.tags, threshold=float(tagger.threshold),
            thresholds=getattr(tagger, "thresholds", None), settings=getattr(tagger, "settings", None),
        )  # fmt: skip
    place = _place(job, manifest)
    _say_elsewhere(writer, job, steps, place)
    done = n - sum(step.rows - step.done for step in steps)
    report = job.progress or (lambda done, total: None)
    report(done, n)
    for step in steps:
        finished: list[tuple[_Decoded, np.ndarray | None]] = []
        try:
            for row in _score(writer, job, step):
                finished.append(row)
                done += len(row[0].codes)
                report(done, n)
        except BaseException:  # Ctrl-C, or whatever stops it: what is finished is not lost
            with suppress(LatentEditError):
                _write(writer, job, step, finished, place, stopped=True)
            raise
        _write(writer, job, step, finished, place)


def _write(
    writer: Writer, job: Job, step: Step, finished: Sequence[tuple[_Decoded, np.ndarray | None]], place: Place,
    *, stopped: bool = False,
) -> None:  # fmt: skip
    """Store the rows of a shard that are finished, all or the first of them."""
    new = [batch for batch, _ in finished if not batch.coded]
    scores = [scored for _, scored in finished if scored is not None]
    coded, tagged = step.coded + sum(len(batch.codes) for batch in new), step.tagged + sum(map(len, scores))
    tagger_id = job.tagger.id if job.tagger else None
    if not finished or (stopped and not writer.may_end(step.number, coded=coded, tagged=tagged, tagger_id=tagger_id)):
        return
    writer.write_shard(
        step.number,
        codes=np.concatenate([batch.codes.numpy() for batch in new]) if new else None,
        images=[png for batch in new for png in batch.images] if writer.manifest.images else None,
        tagger_id=tagger_id,
        scores=np.concatenate(scores) if scores else None,
        status=[why for batch, scored in finished if scored is not None for why in batch.status],
        place=place,
        coded=step.coded,
        tagged=step.tagged,
        stopped=stopped,
    )


def _place(job: Job, manifest: Manifest) -> Place:
    """Where pictures of this job are decoded and in what; nothing where none are, or the generator does not say."""
    labelled = job.tagger is None or hasattr(job.tagger, "label_rows")
    device, dtype = (getattr(job.generator, name, None) for name in ("device", "dtype"))
    if (labelled and not manifest.images) or device is None or dtype is None:
        return None, None
    return str(device), str(dtype).removeprefix("torch.")


def _say_elsewhere(writer: Writer, job: Job, steps: Sequence[Step], place: Place) -> None:
    """A line where a run goes on elsewhere than its last shard was made."""
    manifest = writer.manifest
    shards = manifest.shards if job.tagger is None else manifest.tagger(job.tagger.id).shards
    before = [(shard.device, shard.dtype) for shard in shards if shard.device is not None]
    if not steps or place[0] is None or not before or before[-1] == place:
        return
    there, here = (f"{device} in {dtype}" for device, dtype in (before[-1], place))
    short = {"float16", "bfloat16"} & {str(before[-1][1]), str(place[1])}
    warnings.warn(
        f"{writer.path} was made on {there} so far and goes on on {here}; pictures of the same code differ by "
        f"{'a grey level or more' if short else 'about 1e-5'}",
        stacklevel=3,
    )


def content_names(manifest: Manifest, seeds: np.ndarray) -> list[str] | None:
    """File name of each row's content picture; None for a run without any."""
    indices, source = manifest.content_indices(seeds), manifest.contents
    if indices is None or source is None:
        return None
    return [source.pictures[i].rpartition("#")[0] for i in indices]


def _score(writer: Writer, job: Job, step: Step) -> Iterator[tuple[_Decoded, np.ndarray | None]]:
    """Rows of a shard, batch by batch, with their scores (n, tags) where these are wanted; NaN where unlabelled."""
    tagger = job.tagger if step.tagged < step.rows else None
    label_rows = getattr(tagger, "label_rows", None)  # of taggers that know rows rather than pictures
    if tagger is None or label_rows is not None:
        for batch in _decode(writer, job, step, None):
            names = content_names(writer.manifest, batch.seeds)
            yield batch, None if label_rows is None else label_rows(batch.seeds, names)
        return
    prepare, predict = halves(tagger)
    for batch in feed(_decode(writer, job, step, prepare), tagger):
        good = np.array([why is None for why in batch.status])
        scores = np.full((len(good), len(tagger.tags)), np.nan, np.float32)
        if good.any():
            scores[good] = checked_scores(tagger, predict(batch.prepared), row_names(batch.seeds[good]))
        yield batch, scores


@torch.no_grad()
def _decode(writer: Writer, job: Job, step: Step, prepare: Callable[[Tensor], Any] | None) -> Iterator[_Decoded]:
    """Draw or read the codes of a shard; decode and prepare their pictures where these are wanted."""
    manifest = writer.manifest
    seeds = manifest.seeds(step.number, step.rows)
    stored = writer.read_codes(step.number) if step.done < step.coded else None
    for rows, coded in step.pieces(job.batch_size):
        keep = manifest.images and not coded
        if stored is None or not coded:
            codes = draw(job.generator, seeds[rows], label=manifest.label, truncation=manifest.truncation)
        else:
            codes = torch.from_numpy(stored[rows].copy())
        status = _statuses(manifest, job.contents, seeds[rows])
        good = np.flatnonzero([why is None for why in status])
        prepared, images = None, list[bytes | None]([None] * len(status) if keep else [])
        if len(good) and (prepare is not None or keep):
            pictures = decode_rows(job.generator, manifest, job.contents, seeds[rows][good], codes[good])
            prepared = prepare(pictures) if prepare is not None else None
            for i, pixels in zip(good, to_uint8(pictures) if keep else (), strict=False):
                images[i] = png(pixels)
            if job.files is not None:
                job.files.write(seeds[rows][good], to_uint8(pictures))
        yield _Decoded(seeds[rows], codes, prepared, images, status, coded)


def _statuses(manifest: Manifest, contents: Contents | None, seeds: np.ndarray) -> list[str | None]:
    """Why rows have no picture, None of those that have one."""
    indices = manifest.content_indices(seeds)
    return [None] * len(seeds) if contents is None or indices is None else contents.statuses(indices)


def decode_rows(
    generator: Generator, manifest: Manifest, contents: Contents | None, seeds: np.ndarray, codes: Tensor
) -> Tensor:
    """Pictures (n, 3, H, W) float32 in [-1, 1] of rows of a run: seeds (n,) and their codes (n, dim).

    Raises:
        LatentEditError: as :func:`decode`.
    """
    content, indices = content_of_label(generator, manifest.label), manifest.content_indices(seeds)
    if contents is not None and indices is not None:
        content = contents(indices)
    return decode(generator, codes, content=content, noise=manifest.noise, names=row_names(seeds))


@torch.no_grad()
def write_pictures(samples: Samples, job: Job, files: PictureFiles) -> None:
    """Decode and write the pictures of a run that are not there yet; ``job.progress`` counts them all."""
    report, manifest = job.progress or (lambda done, total: None), samples.manifest
    report(len(files.there), files.wanted)
    for number, shard in enumerate(manifest.shards):
        seeds = manifest.seeds(number, shard.rows)
        lacking = np.flatnonzero(files.lacks(seeds))
        codes = samples.read_codes(number) if len(lacking) else None
        for start in range(0, len(lacking), job.batch_size):
            assert codes is not None
            rows = lacking[start : start + job.batch_size]
            pictures = decode_rows(job.generator, manifest, job.contents, seeds[rows], torch.from_numpy(codes[rows]))
            files.write(seeds[rows], to_uint8(pictures))
            report(len(files.there), files.wanted)


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


def decode(
    generator: Generator, codes: Tensor, *, content: Tensor | None, noise: str | int, names: Sequence[str]
) -> Tensor:
    """Pictures (n, 3, H, W) float32 in [-1, 1] of codes (n, dim), in smaller batches where memory runs out.

    Args:
        generator: decodes.
        codes: (n, dim) or (n, layers, dim) float32.
        content: (n, ...), (1, ...) for all, or None for the generator's default.
        noise: as :meth:`Generator.decode` takes it.
        names: n names of the codes, for messages.

    Raises:
        LatentEditError: pictures have another shape, or are not finite.
    """
    n = len(codes)

    def piece(rows: slice) -> Tensor:
        shared = content is None or len(content) == 1 or rows == slice(0, n)
        return generator.decode(
            codes[rows], content=content if shared or content is None else content[rows], noise=noise
        ).float()

    images = in_pieces(piece, n, generator)
    if images.ndim != 4 or images.shape[:2] != (n, 3):
        raise LatentEditError(f"{generator.id} decoded {n} codes to shape {tuple(images.shape)}, not ({n}, 3, H, W)")
    finite = torch.isfinite(images).flatten(1).all(1)
    if not finite.all():
        raise LatentEditError(f"{generator.id} decoded {names[int(finite.int().argmin())]} to NaN or infinity")
    return images.clamp(-1, 1)


def pictures_of(
    samples: Samples,
    generator: Generator,
    seeds: Sequence[int],
    *,
    contents: str | Path | None = None,
    batch_size: int = 32,
) -> Tensor:
    """Pictures (n, 3, H, W) in [-1, 1], on the CPU, of rows of a stored run, with the content and noise they had.

    Args:
        samples: the run.
        generator: the one that its codes belong to.
        seeds: n rows, in any order.
        contents: folder of the content pictures when they have moved since.
        batch_size: codes decoded at once.

    Raises:
        MismatchError: the codes belong to another generator, or a content picture was changed.
        LatentEditError: a seed that the run does not have.
    """
    manifest = samples.manifest
    samples.check_generator(generator.id, probe=probe_of(generator))
    rows = np.asarray(seeds, np.int64) - manifest.seed
    if not len(rows) or rows.min() < 0 or rows.max() >= samples.rows:
        last = manifest.seed + samples.rows - 1
        raise LatentEditError(f"{samples.path} holds seeds {manifest.seed} ... {last}; got {list(seeds)[:8]}")
    if not (there := manifest.has_picture(manifest.seed + rows)).all():
        raise LatentEditError(
            f"seed {manifest.seed + rows[there.argmin()]} of {samples.path} has no picture: its content could not be "
            "read when it was sampled; choose another seed, or sample into another folder"
        )
    shards = rows // manifest.shard_size
    codes = np.zeros((len(rows), samples.dim), np.float32)
    for number in np.unique(shards):
        codes[shards == number] = samples.read_codes(int(number))[rows[shards == number] % manifest.shard_size]
    source = manifest.contents
    pictures = None if source is None else Contents.find_again(generator, source, contents, samples=samples.path)
    found = []
    with torch.no_grad():
        for start in range(0, len(rows), batch_size):
            batch = manifest.seed + rows[start : start + batch_size]
            chosen = torch.from_numpy(codes[start : start + batch_size])
            found.append(decode_rows(generator, manifest, pictures, batch, chosen).cpu())
    return torch.cat(found)


def checked_scores(tagger: Tagger, scores: Any, names: Sequence[Any]) -> np.ndarray:
    """Scores (n, tags) float32 in [0, 1] as numpy, of pictures that messages call by these n names.

    Raises:
        LatentEditError: another shape or range, or not finite.
    """
    scores, n = torch.as_tensor(scores).detach().float().cpu(), len(names)
    if scores.shape != (n, len(tagger.tags)):
        raise LatentEditError(
            f"{tagger.id} gave scores of shape {tuple(scores.shape)} for {n} pictures; "
            f"its {len(tagger.tags)} tags ask for ({n}, {len(tagger.tags)})"
        )
    bad = ~((scores >= -1e-3) & (scores <= 1 + 1e-3))  # NaN is neither
    if bad.any():
        row, column = (int(i) for i in bad.nonzero()[0])
        raise LatentEditError(
            f"{tagger.id} scored {tagger.tags[column]!r} of {names[row]} as {float(scores[row, column])}; "
            "scores must be in [0, 1]"
        )
    return scores.clamp(0, 1).numpy()


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
    for threshold in (tagger.threshold, *thresholds_of(tagger)):
        if not SCORE_FLOOR < threshold <= 1:
            raise LatentEditError(f"{tagger.id} has threshold {threshold}; it must be in ({SCORE_FLOOR}, 1]")


def row_names(seeds: np.ndarray) -> list[str]:
    """What messages call rows."""
    return [f"seed {seed}" for seed in seeds]


def png(pixels: np.ndarray) -> bytes:
    """The PNG file of a picture (H, W, 3) uint8."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
