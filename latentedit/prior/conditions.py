"""What a flow is told about a picture: its tags, and what it looks like from far, each where it is named.

Tags do not describe everything: when a mouth opens, no tag says that the hair must stay. So a picture is also described
by the mean colours of :data:`SIDE` x :data:`SIDE` cells. An edit names all cells but those that its tag is about, which
are found by regression (:func:`regions_of`), and all tags but those that may change with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 8
CHANNELS = 3
EFFECT, RELATED_EFFECT = 0.1, 0.2
"""A cell belongs to a tag that changes its colour by this many of its standard deviations, and to the tags that it may
change with from the second number on."""
STILL = 0.05
"""Standard deviation, in [-1, 1], that every cell has at least; the corners of a picture may never change."""
COMMON = 0.01
"""Tags on fewer samples say nothing certain about their cells."""


def cells_of(images: Tensor) -> Tensor:
    """Mean colours (n, 3 * SIDE * SIDE) float32 of pictures (n, 3, H, W) in [-1, 1]."""
    return F.adaptive_avg_pool2d(images.float().clamp(-1, 1), SIDE).flatten(1)


@dataclass(frozen=True, eq=False)
class Condition:
    """What is said of n pictures.

    Attributes:
        scores: (n, k) in [0, 1].
        named: (n, k) 1 for each score that is said, else 0.
        cells: (n, 3 * c) standardised colours; none where the generator's pictures are not known.
        shown: (n, c) 1 for each cell that is said, else 0.
    """

    scores: Tensor
    named: Tensor
    cells: Tensor
    shown: Tensor

    def vector(self) -> Tensor:
        """(n, 2k + 4c): each number where it is named, and whether it is."""
        shown = self.shown[:, None].expand(-1, CHANNELS, -1).flatten(1)
        return torch.cat([(2 * self.scores - 1) * self.named, self.named, self.cells * shown, self.shown], 1)

    def __getitem__(self, rows: slice | Tensor) -> Condition:
        return Condition(self.scores[rows], self.named[rows], self.cells[rows], self.shown[rows])


def vector_width(tags: int, cells: int) -> int:
    """Numbers of :meth:`Condition.vector` of k tags and c cells."""
    return 2 * tags + (1 + CHANNELS) * cells


def regions_of(scores: Tensor, cells: Tensor, related: Tensor) -> Tensor:
    """The cells that each tag is about, (k, c) bool.

    The cells' colours are regressed on all tags together (ridge), so that what comes along with a tag is not taken for
    its own, and what a tag changes is measured against how much a cell varies anyway. Cells that the common tags which
    may change with a tag clearly change are its own as well.

    Args:
        scores: (n, k) in [0, 1], NaN where unlabelled, which counts as the tag's mean: it says nothing of the slope.
        cells: (n, 3 * c) colours in [-1, 1].
        related: (k, k) bool, row by row the tags that may change with one, itself included.
    """
    device = scores.device
    scores, cells, related = scores.cpu(), cells.cpu(), related.cpu()  # an Apple GPU has no float64
    x, y = scores.double() - scores.double().nanmean(0), cells.double() - cells.double().mean(0)
    x = x.nan_to_num()
    gram = x.T @ x / len(x) + 1e-4 * torch.eye(x.shape[1], dtype=torch.float64)
    slopes = torch.linalg.solve(gram, x.T @ y / len(x))
    spread = y.var(0).unflatten(0, (CHANNELS, -1)).mean(0).sqrt().clamp(min=STILL)  # (c,)
    effect = slopes.unflatten(1, (CHANNELS, -1)).abs().mean(1) / spread  # (k, c)
    common = (scores >= 0.5).sum(0) / scores.isfinite().sum(0) >= COMMON
    joined = related.double() @ ((effect > RELATED_EFFECT) & common[:, None]).double()
    return ((effect > EFFECT) | (joined > 0)).to(device)


def widened(region: Tensor) -> Tensor:
    """A region (c,) bool with the cells beside, above and below it."""
    if not len(region):
        return region
    grid = region.view(SIDE, SIDE)
    found = grid.clone()
    found[1:] |= grid[:-1]
    found[:-1] |= grid[1:]
    found[:, 1:] |= grid[:, :-1]
    found[:, :-1] |= grid[:, 1:]
    return found.flatten()


def random_masks(n: int, regions: Tensor, related: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which tags (n, k) and cells (n, c) are named for n examples of training, 1 or 0.

    Any subset may be named when codes are edited: none, all, any; and what an edit of one tag names, which is all but
    what may change with it.
    """
    k, c = regions.shape
    kind, keep = torch.rand(2, n, 1, generator=random)
    keep = torch.where(kind < 0.15, torch.zeros(1), torch.where(kind > 0.75, torch.ones(1), keep))
    named = torch.rand(n, k, generator=random) < keep
    tag, second = torch.randint(max(k, 1), (2, n), generator=random)
    if not k:
        return named.float(), (torch.rand(n, c, generator=random) < torch.rand(n, 1, generator=random)).float()
    about = regions[tag] | (regions[second] & (torch.rand(n, 1, generator=random) < 0.2))
    kind = torch.rand(n, 1, generator=random)
    some = torch.rand(n, c, generator=random) < torch.rand(n, 1, generator=random)
    shown = torch.where(kind < 0.45, kind >= 0.2, torch.where(kind < 0.85, ~about, some))
    edited = (kind >= 0.45) & (kind < 0.85) & (torch.rand(n, 1, generator=random) < 0.7)
    others = ~related[tag]
    others[torch.arange(n), tag] = True
    return torch.where(edited, others, named).float(), shown.float()
