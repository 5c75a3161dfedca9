"""What fitting a prior will do, and about how long that takes here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from latentedit.errors import LatentEditError
from latentedit.generators.base import Generator
from latentedit.prior.conditions import SIDE, Condition, vector_width
from latentedit.prior.fitting import DRAWN_AT_ONCE, PriorRecipe, faster_type
from latentedit.prior.flow import Examples, Lesson
from latentedit.prior.networks import Velocity
from latentedit.prior.reading import learn_to_read, look
from latentedit.samples.store import Samples
from latentedit.samples.tag_filter import select_tags

TRIED = 3
"""Steps that are timed, after one to warm up."""
LOOKED = 32
"""Pictures that are timed."""


@dataclass(frozen=True)
class Stage:
    """A part of a fit.

    Attributes:
        count: pictures, codes or steps.
        seconds: about how long it takes.
    """

    count: int
    seconds: float


def plan_of(
    samples: Samples | None, generator: Generator | None, *, tags: Sequence[str] | None, tagger: str | None,
    recipe: PriorRecipe, device: str = "cpu",
) -> dict[str, Stage]:  # fmt: skip
    """The stages "look", "draw", "read" and "learn" when nothing is done yet; arguments as of :meth:`Prior.fit`.

    Times are what a few pictures, codes and steps take: seconds at most.

    Raises:
        UnknownNameError: a tag that the tagger does not have.
        LatentEditError: no tag is left, or a generator that cannot be looked at.
    """
    known: tuple[str, ...] = ()
    if samples is None and tags:
        raise LatentEditError("a generator alone has no tags; name samples that are tagged, or leave tags out (--tag)")
    if samples is not None and samples.taggers:
        known = select_tags(samples.tag_counts(tagger), samples.label_counts(tagger), tags=tags)
        known = known if tags is not None else known[: recipe.most_tags]
    looks = min(recipe.pictures, len(samples)) if samples is not None and generator is not None and known else 0
    counts = {
        "look": looks, "draw": 0 if generator is None else recipe.codes, "read": recipe.reading_steps if known else 0,
        "learn": recipe.steps,
    }  # fmt: skip
    if generator is not None:
        dim = generator.dim
    else:
        assert samples is not None
        dim = samples.dim
    try_each = _trials(generator, dim, len(known), SIDE**2 if looks else 0, recipe, torch.device(device))
    label = None if samples is None else samples.manifest.label
    return {
        name: Stage(count, count * try_each[name](label) if count else 0.0) for name, count in counts.items()
    }  # fmt: skip


def _trials(
    generator: Generator | None, dim: int, tags: int, cells: int, recipe: PriorRecipe, device: torch.device
) -> dict[str, Callable[[int | None], float]]:
    """Seconds of one picture, code or step of each stage, by trying some, for codes of a class."""

    def looked(label: int | None) -> float:
        assert generator is not None
        codes = generator.sample_codes(range(LOOKED), label=label)
        return _seconds(lambda: look(generator, codes, label=label)) / LOOKED

    def drawn(label: int | None) -> float:
        assert generator is not None
        z = torch.randn(DRAWN_AT_ONCE, generator.z_dim)
        draw = getattr(generator, "map_quickly", generator.map)
        return _seconds(lambda: draw(z, label=label)) / DRAWN_AT_ONCE

    def read(label: int | None) -> float:
        x, scores, seen = (torch.rand(40, width) for width in (dim, tags, 3 * cells))
        names = tuple(map(str, range(tags)))
        options = {"hidden": recipe.hidden, "seed": 0, "autocast": faster_type(device)}
        return _seconds(lambda: learn_to_read(x.to(device), scores, seen, names, steps=TRIED, **options)) / TRIED  # type: ignore[arg-type]

    def learned(label: int | None) -> float:
        velocity = Velocity(dim, vector_width(tags, cells), hidden=recipe.hidden, depth=recipe.depth).to(device)
        said = Condition(*(torch.rand(2048, width, device=device) for width in (tags, tags, 3 * cells, cells)))
        examples = Examples(
            torch.randn(2048, dim, device=device), said, torch.zeros(tags, cells, dtype=torch.bool),
            torch.eye(tags, dtype=torch.bool),
        )  # fmt: skip
        lesson = Lesson(
            velocity, examples, steps=recipe.steps, batch_size=recipe.batch_size, learning_rate=recipe.learning_rate,
            seed=0, autocast=faster_type(device),
        )  # fmt: skip

        def some() -> None:
            for _ in range(TRIED):
                lesson.go_on()

        return _seconds(some) / TRIED

    return {"look": looked, "draw": drawn, "read": read, "learn": learned}


def _seconds(job: Callable[[], object]) -> float:
    """What a job takes the second time."""
    job()
    started = time.perf_counter()
    job()
    return time.perf_counter() - started
