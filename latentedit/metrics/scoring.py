"""Scores of the same pictures before and after several edits: what every metric of tags is worked out from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from latentedit.directions.edits import Edit
from latentedit.directions.pairs import TagRelations
from latentedit.editing.editor import Editor
from latentedit.editing.faces import PreparedFaces
from latentedit.errors import LatentEditError, UnknownNameError
from latentedit.samples.fill import checked_scores
from latentedit.taggers import Tagger

Move = Callable[[Tensor], Tensor]
"""Style codes to edited ones."""
Progress = Callable[[int, int], None]
Look = Callable[[int, Tensor, np.ndarray], None]
"""Called with the number of a move, its pictures (b, 3, H, W) of a batch, and their scores (b, k)."""
UNEDITED = "unedited"


def stay(codes: Tensor) -> Tensor:
    """The move that leaves codes alone."""
    return codes


def along(editor: Editor, one: Edit, relations: TagRelations | None = None) -> Move:
    """The move of an edit, its opposite by these relations.

    Raises:
        UnknownNameError: a tag that the editor does not know.
    """
    paired = one.paired(editor.tags, relations)
    return lambda codes: editor.edit(codes, paired)


def check_statistics(n_boot: int, among: str = "all") -> None:
    """Refuse what the statistics would refuse after all pictures are decoded.

    Raises:
        LatentEditError: no repetitions, or an unknown choice of pictures.
    """
    if among not in ("all", "lacking"):
        raise UnknownNameError("kind of pictures", among, ("all", "lacking"))
    if n_boot < 1:
        raise LatentEditError(f"n_boot is {n_boot}; resample 1 time or more, 1000 for an interval")


class Scorer:
    """A judge's scores of the same faces, moved in several ways.

    Args:
        judge: scores their pictures.
        faces: ready for their generator.
    """

    def __init__(self, judge: Tagger, faces: PreparedFaces) -> None:
        self._judge, self._faces = judge, faces

    def __len__(self) -> int:
        return len(self._faces)

    @torch.no_grad()
    def check(self, moves: Sequence[Move]) -> None:
        """Try each move on one code, and decode that code twice: what differs is noise that no metric can see past.

        Raises:
            LatentEditError: a move that cannot be done, or pictures that differ by more than 1e-3.
        """
        faces = self._faces
        first = faces.codes(next(faces.batches()))[:1]
        for move in moves:
            move(first)
        one, again = (faces.decode(first, slice(0, 1)) for _ in range(2))
        gap = float((one - again).abs().max())
        if gap > 1e-3:
            raise LatentEditError(
                f"{faces.generator.id} decoded one code twice to pictures that differ by {gap:.2g}; "
                f"its noise {faces.faces.noise!r} must be the same before and after an edit"
            )

    @torch.no_grad()
    def scores(
        self, moves: Sequence[Move], names: Sequence[str], *, look: Look | None = None,
        progress: Progress | None = None, done: int = 0, total: int | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Scores (moves, n, k) float32 of the pictures after each move.

        Args:
            moves: m ways to move codes.
            names: of the moves, for messages.
            look: sees every picture as well, batch by batch, the moves in turn.
            progress: called with (pictures done, pictures in all) once a batch.
            done, total: pictures decoded by earlier calls, and by all; for ``progress``.

        Raises:
            LatentEditError: the judge refuses a picture, or gives scores that are not in [0, 1].
        """
        faces = self._faces
        n = len(faces)
        found = np.empty((len(moves), n, len(self._judge.tags)), np.float32)
        for rows in faces.batches():
            codes = faces.codes(rows)
            for i, (move, name) in enumerate(zip(moves, names, strict=True)):
                images = faces.decode(move(codes), rows)
                found[i, rows] = self.score(images, rows, name)
                if look:
                    look(i, images, found[i, rows])
            if progress:
                progress(done + rows.stop * len(moves), n * len(moves) if total is None else total)
        return found

    def score(self, images: Tensor, rows: slice, name: str) -> np.ndarray:
        """Scores (b, k) float32 of pictures (b, 3, H, W) of these rows, after the move of this name.

        Raises:
            LatentEditError: as :meth:`scores`.
        """
        names = self._faces.names[rows]
        try:
            scores = self._judge.score(images)
        except LatentEditError as error:
            where = names[0] if len(names) == 1 else f"{names[0]} ... {names[-1]}"
            raise LatentEditError(f"the judge cannot score {where} ({name}): {error}") from error
        return checked_scores(self._judge, scores, [f"{one} ({name})" for one in names])


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
    looks: Callable[[int], Look] | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Edit by edit, scores (n, k) before it and (s, n, k) after each of its moves, float32: one edit's in memory.

    Args:
        scorer: of the pictures, which are decoded 1 + t * s times.
        edits: t of them, for messages.
        strengths: s of them, for messages.
        moves: t times s.
        looks: gives what sees the pictures too: of 0 the unedited ones, of 1 + i those of the i-th edit.
        progress: called with (pictures done, pictures in all).
    """
    scorer.check([move for row in moves for move in row])
    n = len(scorer)
    total = n * (1 + len(edits) * len(strengths))
    before = scorer.scores([stay], [UNEDITED], look=looks and looks(0), progress=progress, total=total)[0]
    for i, one in enumerate(edits):
        names = [f"{one} at {s:g}" for s in strengths]
        done = n * (1 + i * len(strengths))
        look = looks and looks(1 + i)
        yield i, before, scorer.scores(moves[i], names, look=look, progress=progress, done=done, total=total)
