"""Scores of the same pictures before and after several edits: what every metric of tags is worked out from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from latentedit.directions.bank import DirectionBank
from latentedit.directions.pairs import TagKnowledge, TagPair
from latentedit.editing.editor import Edit, edit, label_of
from latentedit.errors import LatentEditError, UnknownNameError
from latentedit.generators import Generator
from latentedit.samples.fill import checked_scores, decode, draw
from latentedit.taggers import Tagger

Move = Callable[[Tensor], Tensor]
"""Style codes to edited ones."""
Progress = Callable[[int, int], None]
UNEDITED = "unedited"


def stay(codes: Tensor) -> Tensor:
    """The move that leaves codes alone."""
    return codes


def along(
    bank: DirectionBank,
    what: Edit,
    *,
    strength: float | None = None,
    opposite: str | None = "auto",
    layers: Sequence[int | str] | str | None = None,
    unit: str = "sigma",
    knowledge: TagKnowledge | None = None,
) -> Move:
    """The move of an edit; arguments as of :func:`latentedit.edit`."""
    return lambda codes: edit(
        codes, bank, what, strength=strength, opposite=opposite, layers=layers, unit=unit, knowledge=knowledge
    )


def along_at(
    bank: DirectionBank,
    what: Edit,
    strength: float,
    *,
    opposite: str | None = "auto",
    layers: Sequence[int | str] | str | None = None,
    unit: str = "sigma",
    knowledge: TagKnowledge | None = None,
) -> Move:
    """The move of an edit at a strength, which also multiplies explicit strengths."""
    if isinstance(what, Mapping):
        what = {tag: value * strength for tag, value in what.items()}
    return along(
        bank, what, strength=strength, opposite=opposite, layers=layers, unit=unit, knowledge=knowledge
    )  # fmt: skip


def target_of(one: Edit) -> str:
    """The tag that an edit is about; "" when explicit strengths name several."""
    if isinstance(one, TagPair):
        return one.positive
    if isinstance(one, str):
        return one
    return next(iter(one)) if len(one) == 1 else ""


def as_edits(edits: Edit | Sequence[Edit]) -> list[Edit]:
    """A list of edits, one of them in a list of its own.

    Raises:
        LatentEditError: there are none.
    """
    found: list[Edit] = [edits] if isinstance(edits, (str, TagPair, Mapping)) else list(edits)
    if not found:
        raise LatentEditError("re-scoring needs at least one seed and one edit")
    return found


def check_statistics(pictures: int, n_boot: int, among: str = "all") -> None:
    """Refuse what the statistics would refuse after all pictures are decoded.

    Raises:
        LatentEditError: no pictures, no repetitions, or an unknown choice of pictures.
    """
    if among not in ("all", "lacking"):
        raise UnknownNameError("kind of pictures", among, ("all", "lacking"))
    if n_boot < 1:
        raise LatentEditError(f"n_boot is {n_boot}; resample 1 time or more, 1000 for an interval")
    if not pictures:
        raise LatentEditError("re-scoring needs at least one seed and one edit")


class Scorer:
    """A judge's scores of the same pictures, moved in several ways.

    Args:
        generator, judge, seeds, content, noise, batch_size: as of :func:`~latentedit.metrics.rescoring.rescore`.

    Raises:
        LatentEditError: no seeds, content for another number of pictures, or unknown noise.
    """

    def __init__(
        self, generator: Generator, judge: Tagger, seeds: Sequence[int], *, content: Tensor | None = None,
        noise: str | int = "stored", batch_size: int = 32,
    ) -> None:  # fmt: skip
        if not len(seeds):
            raise LatentEditError("re-scoring needs at least one seed and one edit")
        if content is not None and len(content) not in (1, len(seeds)):
            raise LatentEditError(
                f"content has {len(content)} rows for {len(seeds)} seeds; give one row for all, or one per seed"
            )
        if batch_size < 1:
            raise LatentEditError(f"batch size {batch_size}; decode one picture or more at once")
        if noise not in ("stored", "none") and (isinstance(noise, (str, bool)) or int(noise) < 0):
            raise LatentEditError(f"noise is {noise!r}; write 'stored', 'none' or a seed, 0 or more")
        self._generator, self._judge, self._seeds = generator, judge, np.asarray([int(seed) for seed in seeds])
        self._content, self._noise, self._batch_size = content, noise, batch_size
        self._drawn: dict[int, Tensor] = {}  # drawing a code may cost as much as decoding it; a code is small

    def __len__(self) -> int:
        return len(self._seeds)

    @torch.no_grad()
    def check(self, moves: Sequence[Move]) -> None:
        """Try each move on one code, and decode that code twice: what differs is noise that no metric can see past.

        Raises:
            LatentEditError: a move that cannot be done, or pictures that differ by more than 1e-3.
        """
        first = self._codes(0)[:1]
        for move in moves:
            move(first)
        one, again = (self._decode(first, slice(0, 1)) for _ in range(2))
        gap = float((one - again).abs().max())
        if gap > 1e-3:
            raise LatentEditError(
                f"{self._generator.id} decoded one code twice to pictures that differ by {gap:.2g}; "
                f"its noise {self._noise!r} must be the same before and after an edit"
            )

    @torch.no_grad()
    def scores(
        self, moves: Sequence[Move], names: Sequence[str], *, progress: Progress | None = None, done: int = 0,
        total: int | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Scores (moves, n, k) float32 of the pictures after each move.

        Args:
            moves: m ways to move codes.
            names: of the moves, for messages.
            progress: called with (pictures done, pictures in all) once a batch.
            done, total: pictures decoded by earlier calls, and by all; for ``progress``.

        Raises:
            LatentEditError: the judge refuses a picture, or gives scores that are not in [0, 1].
        """
        n = len(self._seeds)
        found = np.empty((len(moves), n, len(self._judge.tags)), np.float32)
        for start in range(0, n, self._batch_size):
            rows = slice(start, min(start + self._batch_size, n))
            codes = self._codes(start)
            for i, (move, name) in enumerate(zip(moves, names, strict=True)):
                found[i, rows] = self._score(self._decode(move(codes), rows), rows, name)
            if progress:
                progress(done + rows.stop * len(moves), n * len(moves) if total is None else total)
        return found

    def _codes(self, start: int) -> Tensor:
        """Codes of the batch that starts at a row, drawn once."""
        if start not in self._drawn:
            seeds = self._seeds[start : start + self._batch_size]
            self._drawn[start] = draw(self._generator, seeds, label=None, truncation=1.0)
        return self._drawn[start]

    def _decode(self, codes: Tensor, rows: slice) -> Tensor:
        content = self._content if self._content is None or len(self._content) == 1 else self._content[rows]
        return decode(self._generator, codes, content=content, noise=self._noise, seeds=self._seeds[rows])

    def _score(self, images: Tensor, rows: slice, name: str) -> np.ndarray:
        seeds = self._seeds[rows]
        try:
            scores = self._judge.score(images)
        except LatentEditError as error:
            where = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} ... {seeds[-1]}"
            raise LatentEditError(f"the judge cannot score {where} ({name}): {error}") from error
        return checked_scores(self._judge, scores, [f"seed {seed} ({name})" for seed in seeds])


def checked_strengths(strengths: Sequence[float]) -> np.ndarray:
    """Strengths (s,) float64, as given.

    Raises:
        LatentEditError: none, one twice, none but 0, or one that is not finite.
    """
    try:
        found = np.asarray([float(s) for s in strengths])
    except (TypeError, ValueError) as error:
        raise LatentEditError(f"strengths are {strengths!r}; give numbers such as (1, 2, 3)") from error
    if not np.isfinite(found).all() or len(set(found.tolist())) < len(found) or not found.any():
        raise LatentEditError(f"strengths are {found.tolist()}; give finite numbers, each once, not 0 alone")
    return found


def iter_scored(
    scorer: Scorer,
    edits: Sequence[Edit],
    strengths: Sequence[float],
    moves: Sequence[Sequence[Move]],
    *,
    progress: Progress | None = None,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Edit by edit, scores (n, k) before it and (s, n, k) after each of its moves, float32: one edit's in memory.

    Args:
        scorer: of the pictures, which are decoded 1 + t * s times.
        edits: t of them, for messages.
        strengths: s of them, for messages.
        moves: t times s.
        progress: called with (pictures done, pictures in all).
    """
    scorer.check([move for row in moves for move in row])
    n = len(scorer)
    total = n * (1 + len(edits) * len(strengths))
    before = scorer.scores([stay], [UNEDITED], progress=progress, total=total)[0]
    for i, one in enumerate(edits):
        names = [f"{label_of(one)} at {s:g}" for s in strengths]
        done = n * (1 + i * len(strengths))
        yield i, before, scorer.scores(moves[i], names, progress=progress, done=done, total=total)
