"""Reading codes: what is stored of samples, and the surrogate that says as much of any code.

The surrogate learns from stored samples what the tagger says of a code's picture, and what the picture looks like from
far (the two help each other). After that any number of codes can be described without decoding one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentedit.errors import LatentEditError
from latentedit.generators.base import Generator, content_of_label
from latentedit.prior.conditions import Condition, cells_of
from latentedit.prior.networks import Surrogate
from latentedit.samples.fill import decode
from latentedit.samples.store import Samples
from latentedit.samples.tag_filter import select_tags

Progress = Callable[[int, int], None]
HELD_OUT = 0.05
POOR = 0.85
"""A tag whose surrogate orders held-out samples worse than this (area under the ROC curve) is not read off codes."""
JITTER = 0.05
"""Standard deviation of what is added to coordinates in training, so that the surrogate is smooth between samples."""


@dataclass(frozen=True, eq=False)
class Stored:
    """What is known of n samples.

    Attributes:
        codes: (n, d) float32.
        scores: (n, k) float32 of the kept tags; NaN where a row has no labels.
        tags: k of them.
    """

    codes: Tensor
    scores: Tensor
    tags: tuple[str, ...]


def stored(samples: Samples, *, tags: tuple[str, ...] | None, tagger: str | None, most: int) -> Stored:
    """Codes and scores of samples; without tags where the run has none.

    Args:
        samples: the run.
        tags: to know; None: those that a direction would be fitted for.
        tagger: whose scores.
        most: tags to know at most, the ones nearest to half of the samples.

    Raises:
        UnknownNameError: a tag that the tagger does not have.
        LatentEditError: a named tag that no sample has.
    """
    tagged = bool(samples.taggers)
    if not tagged and tags:
        raise LatentEditError(f"{samples.path} holds no tags; label it with `latentedit tag {samples.path}`")
    chosen: tuple[str, ...] = ()
    if tagged:
        counts, rows = samples.tag_counts(tagger), samples.label_counts(tagger)
        chosen = select_tags(counts, rows, tags=tags)
        if bare := [tag for tag in chosen if not counts[tag]]:
            raise LatentEditError(f"no sample of {samples.path} has {', '.join(bare)}; leave it out, or sample more")
        if tags is None and len(chosen) > most:
            nearest = sorted(chosen, key=lambda tag: abs(counts[tag] / rows[tag] - 0.5))[:most]
            chosen = tuple(tag for tag in chosen if tag in set(nearest))
    vocabulary = samples.tags(tagger) if tagged else ()
    columns = [vocabulary.index(tag) for tag in chosen]
    codes, scores = [], []
    for batch in samples.iter_batches(tagger, scores=tagged):
        codes.append(batch.codes)
        scores.append(np.empty((len(batch.codes), 0), np.float32) if batch.scores is None else batch.scores[:, columns])
    return Stored(torch.from_numpy(np.concatenate(codes)), torch.from_numpy(np.concatenate(scores)), chosen)


@torch.no_grad()
def look(
    generator: Generator, codes: Tensor, *, label: int | None, batch_size: int = 32, progress: Progress | None = None
) -> Tensor:
    """What the pictures of codes (n, d) look like from far, with the generator's own content: (n, 192) float32."""
    found, content = [], content_of_label(generator, label)
    for start in range(0, len(codes), batch_size):
        part = codes[start : start + batch_size]
        names = [f"sample {start + i}" for i in range(len(part))]
        found.append(cells_of(decode(generator, part, content=content, noise="stored", names=names)).cpu())
        if progress:
            progress(start + len(part), len(codes))
    return torch.cat(found)


@dataclass(frozen=True, eq=False)
class Reader:
    """A surrogate with what its numbers mean.

    Attributes:
        network: coordinates to logits and standardised cells.
        known: (k,) 1 for each tag that can be read off codes, 0 for the others.
        mean, deviation: (3 * c,) and (): colours are ``mean + deviation * cells``.
    """

    network: Surrogate
    known: Tensor
    mean: Tensor
    deviation: Tensor

    @classmethod
    def of_nothing(cls, width: int) -> Reader:
        """A reader that says nothing, for generators without tags."""
        network = Surrogate(width, 0, 0, hidden=8).eval().requires_grad_(False)
        return cls(network, torch.empty(0), torch.empty(0), torch.ones(()))

    def to(self, device: torch.device) -> Reader:
        """The same elsewhere."""
        return Reader(self.network.to(device), self.known.to(device), self.mean.to(device), self.deviation.to(device))

    def __call__(self, x: Tensor) -> Condition:
        """All that can be said of codes at coordinates x (n, r)."""
        logits, cells = self.network(x)
        named = self.known.expand(len(x), -1)
        return Condition(logits.sigmoid(), named, cells, cells.new_ones(len(x), cells.shape[1] // 3))


@dataclass(frozen=True)
class Reading:
    """How well the tags of held-out samples are read off their codes.

    Attributes:
        held_out: how many samples that is.
        area: under the ROC curve, by tag; NaN where the held-out samples all have it, or none.
        right: share of samples on the right side of a half, by tag.
        cells: share of the variance of the cells that is read (R2); NaN without pictures.
    """

    held_out: int
    area: dict[str, float]
    right: dict[str, float]
    cells: float

    @property
    def poor(self) -> tuple[str, ...]:
        """Tags that cannot be read off codes."""
        return tuple(tag for tag, area in self.area.items() if area < POOR)


def learn_to_read(
    x: Tensor, scores: Tensor, cells: Tensor, tags: tuple[str, ...], *, steps: int, hidden: int, seed: int,
    autocast: torch.dtype | None = None, progress: Progress | None = None,
) -> tuple[Reader, Reading]:  # fmt: skip
    """Train a surrogate and measure it on samples that it has not seen.

    Args:
        x: (n, r) coordinates.
        scores: (n, k) in [0, 1]; NaN where there is no label.
        cells: (n, 3 * c) colours; of the first n rows only when fewer were looked at, none when none.
        tags: k of them.
        steps: of AdamW, 512 samples each.
        hidden: width of its layers.
        seed: of everything random.
        autocast: type that the layers compute in.
        progress: called with (steps done, steps).
    """
    device, n, looked = x.device, len(x), len(cells)
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=random)
    held, train = order[: max(1, min(2000, int(HELD_OUT * n)))], order[max(1, min(2000, int(HELD_OUT * n))) :]
    centre = cells.mean(0) if looked else cells.new_zeros(cells.shape[1])
    spread = (cells - centre).square().mean().sqrt().clamp(min=1e-6) if looked else cells.new_ones(())
    targets = torch.full((n, cells.shape[1]), torch.nan)
    targets[:looked] = (cells - centre) / spread
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Surrogate(x.shape[1], len(tags), cells.shape[1], hidden=hidden).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.05)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-3 * (1 - step / steps)
        rows = train[torch.randint(len(train), (512,), generator=random)]
        jitter = JITTER * torch.randn(512, x.shape[1], generator=random)
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            logits, seen = network(x[rows] + jitter.to(device))
        loss = _masked_loss(logits.float(), scores[rows].to(device), seen.float(), targets[rows].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if progress:
            progress(step + 1, steps)
    network.eval().requires_grad_(False)
    reading = _measure(network, x[held], scores[held], targets[held], tags)
    known = torch.tensor([0.0 if tag in reading.poor else 1.0 for tag in tags])
    return Reader(network, known.to(device), centre.to(device), spread.to(device)), reading


def _masked_loss(logits: Tensor, scores: Tensor, seen: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the scores plus squared error of the cells, over what is there."""
    total = logits.new_zeros(())
    labelled, looked = scores.isfinite(), targets.isfinite()
    if labelled.any():
        each = F.binary_cross_entropy_with_logits(logits, scores.nan_to_num(), reduction="none")
        total = total + (each * labelled).sum() / labelled.sum()
    if looked.any():
        total = total + ((seen - targets.nan_to_num()).square() * looked).sum() / looked.sum()
    return total


@torch.no_grad()
def _measure(network: Surrogate, x: Tensor, scores: Tensor, targets: Tensor, tags: tuple[str, ...]) -> Reading:
    from sklearn.metrics import roc_auc_score

    logits, seen = (part.float().cpu() for part in network(x))
    area, right = {}, {}
    for j, tag in enumerate(tags):
        there = scores[:, j].isfinite()
        truth, found = scores[there, j] >= 0.5, logits[there, j]
        both = bool(truth.any()) and not bool(truth.all())
        area[tag] = float(roc_auc_score(truth.numpy(), found.numpy())) if both else float("nan")
        right[tag] = float(((found >= 0) == truth).float().mean()) if len(truth) else float("nan")
    looked = targets.isfinite().all(1) if targets.shape[1] else torch.zeros(len(x), dtype=torch.bool)
    cells = float("nan")
    if int(looked.sum()) > 1:
        wrong = (seen[looked] - targets[looked]).square().mean()
        cells = float(1 - wrong / targets[looked].var(0, correction=0).mean())
    return Reading(len(x), area, right, cells)
