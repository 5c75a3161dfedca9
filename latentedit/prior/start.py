"""Where a prior's flow starts when it does not start from nothing: at another prior's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from latentedit.errors import MismatchError
from latentedit.prior.networks import Velocity
from latentedit.prior.space import CodeSpace

ENOUGH = 100
"""Codes from which on it is seen where they lie."""
APART, SPREAD = 0.5, 1.6
"""Standard deviations by which the mean of codes may be off on any axis, and by how much wider or narrower they may be;
of a hundred codes of one generator the mean is off by 0.3 at most, the width by a fifth."""


@dataclass(frozen=True, eq=False)
class Start:
    """What is taken over of another prior.

    Attributes:
        tags: that it knows.
        space: the coordinates that it works in, which the new one takes over.
        velocity: its network.
    """

    tags: tuple[str, ...]
    space: CodeSpace
    velocity: Velocity

    def of_tags(self, tags: Sequence[str]) -> Start:
        """The same prior without its other tags, as if they were never named.

        Raises:
            MismatchError: a tag that it does not know.
        """
        unknown = [tag for tag in tags if tag not in self.tags]
        if unknown:
            raise MismatchError(
                f"the prior to start from knows {len(self.tags)} tags and not {unknown[0]!r}; name tags that it knows "
                "(--tag), or start from none (--from)"
            )
        state, known = dict(self.velocity.state_dict()), len(self.tags)
        of = [self.tags.index(tag) for tag in tags]
        columns = [*of, *(known + j for j in of)]  # Condition.vector: scores, what is named, and the cells
        weight = state["condition.0.weight"]
        state["condition.0.weight"] = torch.cat([weight[:, columns], weight[:, 2 * known :]], 1)
        hidden, wide = state["condition.0.weight"].shape
        with torch.random.fork_rng(devices=[]):
            velocity = Velocity(self.velocity.enter.in_features, wide, hidden=hidden, depth=len(self.velocity.layers))
        velocity.load_state_dict(state)
        return replace(self, tags=tuple(tags), velocity=velocity)

    def check(self, codes: Tensor, velocity: Velocity) -> None:
        """Refuse to start what cannot go on from there, before anything long is done.

        Args:
            codes: (n, d) of samples; none of a generator alone.
            velocity: a network as the new prior will have it.

        Raises:
            MismatchError: codes of another width or that lie elsewhere, or a network of other layers.
        """
        width = self.space.axes.shape[1]
        if codes.shape[1] != width:
            raise MismatchError(
                f"the prior to start from is of codes of {width} numbers, and these have {codes.shape[1]}; "
                "start from none (--from)"
            )
        own, held = (
            {name: tuple(value.shape) for name, value in network.state_dict().items()}
            for network in (velocity, self.velocity)
        )
        if own != held:
            raise MismatchError(
                "the prior to start from has a network of other layers; fit with pictures (--pictures) as that one "
                "was, or start from none (--from)"
            )
        if len(codes) >= ENOUGH:
            x = self.space.enter(codes.to(self.space.mean.device))
            apart, spread = float(x.mean(0).abs().max()), x.std(0)
            if apart > APART or spread.min() < 1 / SPREAD or spread.max() > SPREAD:
                raise MismatchError(
                    f"these codes lie elsewhere than those of the prior to start from: by up to {apart:.2g} standard "
                    f"deviations, {spread.min():.2g} to {spread.max():.2g} times as wide; start from none (--from)"
                )

    def fingerprint(self) -> str:
        """A hash of all of its numbers."""
        parts = [self.space.mean, self.space.axes, self.space.deviation, *self.velocity.state_dict().values()]
        return hashlib.sha256(b"".join(part.cpu().numpy().tobytes() for part in parts)).hexdigest()
