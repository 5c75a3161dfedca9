"""The two networks of a prior, plain torch modules over coordinates of :class:`~latentedit.prior.space.CodeSpace`.

* :class:`Surrogate` reads off a code what the tagger would say of its picture, and what that looks like from far.
* :class:`Velocity` is the field whose integral carries N(0, I) at t = 0 to codes at t = 1 under a condition: Lipman et
  al., "Flow Matching for Generative Modeling" (2023).
"""

from __future__ import annotations

import math
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FREQUENCIES = 16


class Surrogate(nn.Module):
    """Coordinates (n, r) to logits of tags (n, k) and a picture's cells (n, cells)."""

    def __init__(self, width: int, tags: int, cells: int, *, hidden: int = 512) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(width, hidden), nn.SiLU(), nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.SiLU(),
            nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.SiLU(),
        )  # fmt: skip
        self.tags, self.cells = _linear(hidden, tags), _linear(hidden, cells)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x)
        return self.tags(h), self.cells(h)


class Velocity(nn.Module):
    """The velocity at coordinates x (n, r) and time t (n, 1) in [0, 1] under an embedded condition (n, hidden)."""

    def __init__(self, width: int, condition: int, *, hidden: int = 512, depth: int = 4) -> None:
        super().__init__()
        self.time, self.enter = nn.Linear(2 * FREQUENCIES, hidden), nn.Linear(width, hidden)
        self.condition = nn.Sequential(_linear(condition, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.layers = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(depth))
        self.leave = nn.Linear(hidden, width)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, t: Tensor, embedded: Tensor) -> Tensor:
        angles = t * torch.arange(1, FREQUENCIES + 1, device=t.device) * math.pi
        e = self.time(torch.cat([angles.sin(), angles.cos()], 1)) + embedded
        h, e = self.enter(x) + e, F.silu(e)
        for layer in self.layers:
            h = h + layer(F.silu(F.layer_norm(h, h.shape[-1:]) + e))
        out: Tensor = self.leave(F.silu(h))
        return out


def _linear(width: int, out: int) -> nn.Linear:
    """A layer; torch warns of one without numbers, which a prior without tags has."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
        return nn.Linear(width, out)
