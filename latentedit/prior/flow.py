"""The flow: how it is learned, and how coordinates are carried along it.

Flow matching (Lipman et al., "Flow Matching for Generative Modeling", 2023) with conditions of which any subset may be
named, as StyleFlow (Abdal et al., 2021) conditions a flow of style codes on attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from latentedit.prior.conditions import Condition, random_masks
from latentedit.prior.networks import Velocity

STEPS = 6
"""Midpoint steps between noise and codes: an edit is off by three hundredths of its length, which no score shows."""
AVERAGE = 0.9995
"""Decay of the running mean of weights that is kept in place of the last ones."""

Field = Callable[[Tensor, Tensor], Tensor]
"""Coordinates (n, r) and times (n, 1) to velocities (n, r)."""


def carry(x: Tensor, start: float, end: float, velocity: Field, *, steps: int = STEPS) -> Tensor:
    """Coordinates (n, r) carried from one time to another, by the midpoint rule."""
    times = torch.linspace(start, end, steps + 1).tolist()
    for now, then in zip(times[:-1], times[1:], strict=True):
        h = then - now
        middle = x + h / 2 * velocity(x, x.new_full((len(x), 1), now))
        x = x + h * velocity(middle, x.new_full((len(x), 1), now + h / 2))
    return x


@dataclass(frozen=True, eq=False)
class WayBack:
    """The way of n codes back to noise under one field, so that it can be compared with other ways forth.

    Attributes:
        times: (2s + 1,) from 1 down to 0, the start and the middle of every midpoint step and the end.
        places: (2s + 1, n, r) coordinates there.
        velocities: (2s + 1, n, r) of the field there.
    """

    times: tuple[float, ...]
    places: Tensor
    velocities: Tensor

    @classmethod
    def of(cls, x: Tensor, own: Field, *, steps: int = STEPS) -> WayBack:
        """The way of coordinates (n, r) at t = 1."""
        h, times, places, velocities = 1 / steps, [], [], []

        def pass_by(place: Tensor, t: float) -> Tensor:
            velocity = own(place, place.new_full((len(place), 1), t))
            times.append(t)
            places.append(place)
            velocities.append(velocity)
            return velocity

        for t in torch.linspace(1, 0, steps + 1).tolist()[:-1]:
            middle = x - h / 2 * pass_by(x, t)
            x = x - h * pass_by(middle, t - h / 2)
        pass_by(x, 0.0)
        return cls(tuple(times), torch.stack(places), torch.stack(velocities))

    def __getitem__(self, rows: Tensor) -> WayBack:
        return WayBack(self.times, self.places[:, rows], self.velocities[:, rows])

    def difference(self, new: Field) -> Tensor:
        """What coordinates become, less themselves, when they come forth by another field: (n, r).

        It is ``forth(noise, new) - forth(noise, own)`` without the last: the way forth is a way beside the way back,
        of which only the distance is integrated (midpoint rule, in the same places). Where the fields are one, nothing.
        """
        h, last = 2 / (len(self.times) - 1), len(self.times) - 1
        apart = torch.zeros_like(self.places[0])
        for step in range(last, 0, -2):
            pull = apart
            for share, place in ((0.5, step), (1.0, step - 1)):
                t = apart.new_full((len(apart), 1), self.times[place])
                pull = apart + share * h * (new(self.places[place] + pull, t) - self.velocities[place])
            apart = pull
        return apart


@dataclass(frozen=True, eq=False)
class Examples:
    """What a flow learns from, m codes of one generator.

    Attributes:
        x: (m, r) coordinates.
        said: all that can be said of each.
        regions: (k, c) bool, the cells that each tag is about.
        related: (k, k) bool, the tags that may change with each.
    """

    x: Tensor
    said: Condition
    regions: Tensor
    related: Tensor


class Lesson:
    """A flow while it is learned: network, running mean, optimiser and random state, which a file can hold.

    Args:
        velocity: to train.
        examples: to learn from.
        steps: in all.
        batch_size: examples a step.
        learning_rate: at its highest; it rises for 200 steps and then falls to nothing.
        seed: of everything random.
        autocast: type that the layers compute in; None for that of the weights.
    """

    def __init__(
        self, velocity: Velocity, examples: Examples, *, steps: int, batch_size: int, learning_rate: float, seed: int,
        autocast: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        self.velocity, self.examples, self.steps, self.step = velocity, examples, steps, 0
        self._batch, self._rate, self._autocast = batch_size, learning_rate, autocast
        self._optimizer = torch.optim.AdamW(
            velocity.parameters(), learning_rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self._mean = [p.detach().clone() for p in velocity.parameters()]
        self._random = torch.Generator().manual_seed(seed)
        self.losses: list[float] = []

    def go_on(self) -> None:
        """One step."""
        share = self.step / self.steps
        self._optimizer.param_groups[0]["lr"] = self._rate * min(1.0, (self.step + 1) / 200) * (1 - share)
        x, vector = self._examples()
        t = torch.rand(len(x), 1, generator=self._random).to(x.device)
        noise = torch.randn(x.shape, generator=self._random).to(x.device)
        with torch.autocast(x.device.type, self._autocast, enabled=self._autocast is not None):
            found = self.velocity((1 - t) * noise + t * x, t, self.velocity.condition(vector))
        loss = (found.float() - (x - noise)).square().mean()
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.velocity.parameters(), 1.0)
        self._optimizer.step()
        self.step += 1
        decay = min(AVERAGE, self.step / (self.step + 10))
        torch._foreach_lerp_(self._mean, [p.detach() for p in self.velocity.parameters()], 1 - decay)
        self.losses.append(float(loss.detach()))

    def _examples(self) -> tuple[Tensor, Tensor]:
        """Coordinates (b, r) and what is said of them, (b, 2k + 4c)."""
        e, n = self.examples, self._batch
        rows = torch.randint(len(e.x), (n,), generator=self._random).to(e.x.device)
        named, shown = random_masks(n, e.regions, e.related, self._random)
        said = e.said[rows]
        said = replace(said, named=said.named * named.to(rows.device), shown=said.shown * shown.to(rows.device))
        return e.x[rows], said.vector()

    def finish(self) -> Velocity:
        """The network with the running mean of its weights, for use."""
        with torch.no_grad():
            for kept, p in zip(self._mean, self.velocity.parameters(), strict=True):
                p.copy_(kept)
        return self.velocity.eval().requires_grad_(False)

    def state(self) -> dict[str, Tensor]:
        """All that decides how it goes on."""
        found = {f"network.{name}": value for name, value in self.velocity.state_dict().items()}
        found |= {f"mean.{i}": value for i, value in enumerate(self._mean)}
        for i, kept in self._optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{i}.{name}": value for name, value in kept.items()}
        recent = torch.tensor(self.losses[-1000:])
        return found | {"random": self._random.get_state(), "step": torch.tensor(self.step), "losses": recent}

    def take(self, state: dict[str, Tensor]) -> None:
        """Go on from what :meth:`state` gave."""
        of = lambda kind: {k.removeprefix(f"{kind}."): v for k, v in state.items() if k.startswith(f"{kind}.")}  # noqa: E731
        self.velocity.load_state_dict(of("network"))
        for i, value in of("mean").items():
            self._mean[int(i)].copy_(value)
        whole = self._optimizer.state_dict()
        for name, value in of("optimizer").items():
            i, _, key = name.partition(".")
            whole["state"].setdefault(int(i), {})[key] = value
        self._optimizer.load_state_dict(whole)
        self._random.set_state(state["random"])
        self.step, self.losses = int(state["step"]), state["losses"].tolist()


def guided(velocity: Velocity, conditions: Sequence[Tensor], guidance: Sequence[Tensor]) -> Field:
    """The field under the first condition, drawn towards the others one after another.

    ``v = v(c0) + sum of g_i * (v(c_i) - v(c_(i - 1)))``: with one other condition this is classifier-free guidance
    (Ho & Salimans, 2022), from a condition in place of from none.

    Args:
        velocity: the network.
        conditions: (n, hidden) embedded, m + 1 of them.
        guidance: (n, 1), m of them.
    """
    embedded = torch.cat(list(conditions))

    def field(x: Tensor, t: Tensor) -> Tensor:
        if len(conditions) == 1:
            first: Tensor = velocity(x, t, embedded)
            return first
        found = velocity(x.repeat(len(conditions), 1), t.repeat(len(conditions), 1), embedded).chunk(len(conditions))
        v: Tensor = found[0]
        for g, one, other in zip(guidance, found[1:], found[:-1], strict=True):
            v = v + g * (one - other)
        return v

    return field
