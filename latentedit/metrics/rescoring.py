"""Re-scoring: how much every tag's score moves when one tag is edited.

A signed matrix, rows = edits, columns = measured tags, paired on the same codes and content. After
Yang et al., "Semantic Hierarchy Emerges in Deep Generative Representations" (2021), section 3.3,
but signed and off the diagonal as well; intervals are percentile bootstraps over the pictures
(Efron, 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from latentedit.direction import DirectionBank
from latentedit.editing import Edit, edit, label_of
from latentedit.errors import LatentEditError
from latentedit.generators import Generator
from latentedit.knowledge import TagKnowledge, TagPair
from latentedit.taggers import Tagger
from latentedit.taggers.base import thresholds_of

SELECTIVITY_FLOOR = 0.005


@dataclass(frozen=True)
class Rescoring:
    """Scores before and after t edits of the same n pictures, for k tags.

    Attributes:
        targets: the edited tags, t of them; "" for an edit by explicit strengths of several tags.
        labels: what each edit is called, t of them.
        tags: the measured tags, k of them.
        thresholds: (k,) score from which the judge counts each tag as present.
        before: (n, k) scores of the unedited pictures.
        after: (t, n, k) scores of the edited ones.
        mean: (t, k) mean change.
        low, high: (t, k) ends of its 95 % bootstrap interval.
    """

    targets: tuple[str, ...]
    labels: tuple[str, ...]
    tags: tuple[str, ...]
    thresholds: np.ndarray
    before: np.ndarray
    after: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def rows(self, target: int, *, having: str | None = None) -> np.ndarray:
        """Which pictures (n,) lack the target's tag before the edit, and carry the tag ``having``."""
        present = self.before >= self.thresholds  # (n, k)
        lacking = ~present[:, self._column(self.targets[target])]
        return lacking if having is None else lacking & present[:, self._column(having)]

    def target_change(self, target: int, *, having: str | None = None) -> float:
        """Mean rise of the target's score over the pictures that lack it; NaN when none does."""
        rows, column = self.rows(target, having=having), self._column(self.targets[target])
        change = self.after[target, rows, column] - self.before[rows, column]
        return float(change.mean()) if rows.any() else float("nan")

    def off_target(
        self, target: int, *, having: str | None = None, share: float = 0.03, knowledge: TagKnowledge | None = None
    ) -> dict[str, float]:
        """Mean absolute change of each tag outside the target's own group, over the same pictures.

        Only tags carried by at least ``share`` of all pictures count.
        """
        knowledge = knowledge or TagKnowledge.load()
        rows = self.rows(target, having=having)
        own = {self.targets[target], *knowledge.group_of(self.targets[target])}
        common = (self.before >= self.thresholds).mean(0) >= share
        if not rows.any():
            return {}
        change = np.abs(self.after[target][rows] - self.before[rows]).mean(0)
        return {
            tag: float(change[j])
            for j, tag in enumerate(self.tags)
            if common[j]
            and tag not in own
            and tag != having
            and (having is None or tag not in knowledge.group_of(having))
        }

    @property
    def selectivity(self) -> np.ndarray:
        """(t,) target change over mean absolute off-target change (not below 0.005)."""
        values = []
        for i in range(len(self.targets)):
            off = list(self.off_target(i).values())
            values.append(self.target_change(i) / max(float(np.mean(off)) if off else 0.0, SELECTIVITY_FLOOR))
        return np.array(values)

    def _column(self, tag: str) -> int:
        if tag not in self.tags:
            raise LatentEditError(f"the judge does not measure {tag!r}; it knows {', '.join(self.tags[:20])} ...")
        return self.tags.index(tag)


def rescore(
    generator: Generator,
    judge: Tagger,
    bank: DirectionBank,
    edits: Sequence[Edit],
    seeds: Sequence[int],
    *,
    strength: float | None = None,
    opposite: str | None = "auto",
    layers: Sequence[int | str] | str | None = None,
    content: Tensor | None = None,
    batch_size: int = 32,
    n_boot: int = 1000,
    progress: Callable[[int, int], None] | None = None,
) -> Rescoring:
    """Score the same pictures before and after each edit.

    Args:
        generator: decodes.
        judge: scores; another tagger than the one that fitted is a fairer judge.
        bank: directions.
        edits: rows of the matrix.
        seeds: one picture each; best ones that no direction was fitted on.
        strength, opposite, layers: as in :func:`latentedit.edit`.
        content: for image-to-image generators, one row for all or one per seed.
        batch_size: pictures decoded at once.
        n_boot: bootstrap repetitions.
        progress: called with (pictures done, pictures in all).

    Raises:
        LatentEditError: no seeds, no edits, or an edit that the bank cannot do.
    """
    if not len(seeds) or not len(edits):
        raise LatentEditError("re-scoring needs at least one seed and one edit")
    targets = tuple(
        one if isinstance(one, str) else one.positive if isinstance(one, TagPair) else _only(one) for one in edits
    )
    before, after = [], []
    total = len(seeds) * (1 + len(edits))
    for start in range(0, len(seeds), batch_size):
        codes = generator.sample_codes(seeds[start : start + batch_size])
        here = content if content is None or len(content) == 1 else content[start : start + batch_size]

        def scores(codes: Tensor, here: Tensor | None = here) -> np.ndarray:
            images = generator.decode(codes) if here is None else generator.decode(codes, content=here)
            return judge.score(images.clamp(-1, 1)).float().cpu().numpy()

        before.append(scores(codes))
        after.append(
            np.stack(
                [scores(edit(codes, bank, one, strength=strength, opposite=opposite, layers=layers)) for one in edits]
            )
        )
        if progress:
            progress(min(total, (start + len(codes)) * (1 + len(edits))), total)
    all_before, all_after = np.concatenate(before), np.concatenate(after, 1)  # (n, k), (t, n, k)
    low, high = bootstrap_interval(all_after - all_before, n_boot=n_boot)
    return Rescoring(
        targets=targets, labels=tuple(map(label_of, edits)), tags=tuple(judge.tags), thresholds=thresholds_of(judge),
        before=all_before, after=all_after, mean=(all_after - all_before).mean(1), low=low, high=high,
    )  # fmt: skip


def bootstrap_interval(change: np.ndarray, *, n_boot: int = 1000, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of the mean over axis 1 of (t, n, k): two arrays (t, k)."""
    t, n, k = change.shape
    random = np.random.default_rng(0)
    weights = random.multinomial(n, np.full(n, 1 / n), size=n_boot) / n  # (n_boot, n)
    means = np.einsum("bn,tnk->btk", weights, change)  # (n_boot, t, k)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high


def _only(strengths: Mapping[str, float]) -> str:
    return next(iter(strengths)) if len(strengths) == 1 else ""
