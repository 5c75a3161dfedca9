"""Where a prior's flow starts when it does not start from nothing: at another prior's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from latentedit.errors import MismatchError
from latentedit.prior.networks import Velocity
from latentedit.prior.space import CodeSpace


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

    def check(self, tags: tuple[str, ...], dim: int) -> None:
        """Refuse to start a prior of other tags, or of codes of another width.

        Raises:
            MismatchError: it cannot go on from there.
        """
        if dim != self.space.axes.shape[1]:
            raise MismatchError(
                f"the prior to start from is of codes of {self.space.axes.shape[1]} numbers, and these have {dim}; "
                "start from none (--from)"
            )
        if tags != self.tags:
            one = sorted(set(tags) ^ set(self.tags))
            what = f"{one[0]} is a tag of one of them alone" if one else "their order differs"
            raise MismatchError(
                f"the prior to start from knows {len(self.tags)} tags, and {len(tags)} are to be learned: {what}; "
                "name the same tags (--tag), or start from none (--from)"
            )

    def give(self, velocity: Velocity) -> None:
        """Fill a network of the same layers.

        Raises:
            MismatchError: it has others, as where the one prior looked at pictures and the other did not.
        """
        own = {name: tuple(value.shape) for name, value in velocity.state_dict().items()}
        held = {name: tuple(value.shape) for name, value in self.velocity.state_dict().items()}
        if own != held:
            raise MismatchError(
                "the prior to start from has a network of other layers; fit with pictures (--pictures) as that one "
                "was, or start from none (--from)"
            )
        velocity.load_state_dict(self.velocity.state_dict())

    def fingerprint(self) -> str:
        """A hash of all of its numbers."""
        parts = [self.space.mean, self.space.axes, self.space.deviation, *self.velocity.state_dict().values()]
        return hashlib.sha256(b"".join(part.cpu().numpy().tobytes() for part in parts)).hexdigest()
