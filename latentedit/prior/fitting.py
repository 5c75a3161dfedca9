"""Fitting a prior: look at pictures of samples, learn to read codes, draw many more codes, learn their flow.

What has been done is kept beside the prior's file: what was looked at and drawn once, the flow's state every minute.
The same call goes on from there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from latentedit import __version__
from latentedit.directions.pairs import TagRelations
from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.generators.base import Generator
from latentedit.generators.probe import probe_of
from latentedit.prior.conditions import CHANNELS, SIDE, Condition, regions_of, vector_width
from latentedit.prior.flow import Examples, Lesson
from latentedit.prior.networks import Surrogate, Velocity
from latentedit.prior.reading import Reader, Reading, Stored, learn_to_read, look, stored
from latentedit.prior.space import CodeSpace
from latentedit.prior.start import Start
from latentedit.samples.store import Samples
from latentedit.tensorfile import read_safetensors, write_safetensors

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done ("look", "read", "draw", "learn"), how much of it is, and how much there is in all."""
STATE = "latentedit.prior.fitting"
KINDS = ("looked", "drawn", "prepared", "flow")
KEEP_EVERY = 60.0
"""Seconds between two states of the flow that are kept."""
DRAWN_AT_ONCE = 2000
GENTLY = 0.3
"""Share of the learning rate for a flow that starts at another prior's: it has found its way, and shall not lose it."""


@dataclass(frozen=True)
class PriorRecipe:
    """How a prior is fitted; what changes its numbers.

    Attributes:
        steps: of the flow, ``batch_size`` codes each; more is better until the loss is flat.
        codes: drawn from the generator beside the samples.
        pictures: of samples that are looked at, so that edits also keep what no tag describes; 0 for none.
        reading_steps: of the surrogate.
        most_tags: known at most, where none are named.
        hidden, depth: width and number of the flow's layers.
        batch_size: codes a step.
        learning_rate: of AdamW, at its highest; a prior that starts at another one takes three tenths of it.
        seed: of everything random.
    """

    steps: int = 8_000
    codes: int = 90_000
    pictures: int = 10_000
    reading_steps: int = 6_000
    most_tags: int = 200
    hidden: int = 512
    depth: int = 4
    batch_size: int = 1024
    learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"steps": 1, "codes": 0, "pictures": 0, "reading_steps": 1, "most_tags": 1, "hidden": 8, "depth": 1,
                 "batch_size": 2}  # fmt: skip
        for name, limit in least.items():
            if getattr(self, name) < limit:
                raise LatentEditError(f"{name} is {getattr(self, name)}; it must be {limit} or more")
        if not 0 < self.learning_rate < 1:
            raise LatentEditError(f"learning_rate is {self.learning_rate}; it must lie between 0 and 1")


@dataclass(frozen=True, eq=False)
class Learned:
    """All that a prior is made of; as the attributes of :class:`latentedit.prior.prior.Prior`."""

    tags: tuple[str, ...]
    generator_id: str
    dim: int
    space: CodeSpace
    reader: Reader
    velocity: Velocity
    regions: Tensor
    related: Tensor
    percentiles: Tensor
    about: dict[str, Any]


def learn(
    samples: Samples | None, generator: Generator | None, *, tags: Sequence[str] | None, tagger: str | None,
    relations: TagRelations, recipe: PriorRecipe, state: Path | None, device: str, batch_size: int,
    progress: Progress | None, start: Start | None = None,
) -> Learned:  # fmt: skip
    """Fit; arguments as of :meth:`latentedit.prior.prior.Prior.fit`, ``state`` without suffix."""
    if samples is not None and generator is not None:
        samples.check_generator(generator.id, probe=probe_of(generator))
    held = samples.generator_id if samples is not None else getattr(generator, "id", None)
    if held is None:
        raise LatentEditError("a prior is fitted to samples, or to a generator alone")
    target = torch.device(device)
    known = _known(samples, generator, tags, tagger, recipe)
    looked = generator is not None and recipe.pictures > 0 and bool(known.tags)
    if start is not None:
        start = start.of_tags(known.tags)
        start.check(known.codes, _velocity(start.space.width, len(known.tags), SIDE**2 if looked else 0, recipe))
    related = _related(known.tags, relations)
    settings = json.dumps(
        [__version__, asdict(recipe), known.tags, related.tolist(),
         None if generator is None else [generator.id, probe_of(generator)],
         None if samples is None else samples.fingerprint(scores=bool(known.tags)), str(target),
         *([] if start is None else [start.fingerprint()])]
    )  # fmt: skip
    kept = _Kept(state, settings)
    said = lambda what: None if progress is None else (lambda done, total: progress(what, done, total))  # noqa: E731
    label, truncation = (None, 1.0) if samples is None else (samples.manifest.label, samples.manifest.truncation)
    cells, drawn = torch.empty(0, 0), torch.empty(0, known.codes.shape[1])
    if looked and generator is not None:
        seen = known.codes[: recipe.pictures]
        cells = kept.once(
            "looked", lambda: look(generator, seen, label=label, batch_size=batch_size, progress=said("look"))
        )
    if generator is not None and recipe.codes:
        drawn = kept.once("drawn", lambda: _draw(generator, recipe, label, truncation, said("draw")))
    prepared = kept.read("prepared")
    if prepared is None:
        space = None if start is None else start.space
        prepared = _prepare(known, cells, drawn, related, recipe, target, said("read"), space)
        kept.write("prepared", prepared)
    space = CodeSpace(prepared["mean"], prepared["axes"], prepared["deviation"]).to(target)
    reader = _reader(prepared).to(target)
    x = space.enter(torch.cat([known.codes, drawn]).to(target))
    regions = prepared["regions"].bool()
    velocity = _velocity(space.width, len(known.tags), regions.shape[1], recipe).to(target)
    if start is not None:
        velocity.load_state_dict(start.velocity.state_dict())
    lesson = Lesson(
        velocity, Examples(x, _said(reader, x, known), regions, related), steps=recipe.steps,
        batch_size=recipe.batch_size, learning_rate=recipe.learning_rate * (1 if start is None else GENTLY),
        seed=recipe.seed,
        autocast=torch.bfloat16 if prepared["bfloat16"] else None,
    )  # fmt: skip
    if (found := kept.read("flow")) is not None:
        lesson.take(found)
    since = time.monotonic()
    while lesson.step < recipe.steps:
        lesson.go_on()
        if progress:
            progress("learn", lesson.step, recipe.steps)
        if time.monotonic() - since > KEEP_EVERY:
            kept.write("flow", lesson.state())
            since = time.monotonic()
    kept.write("flow", lesson.state())
    reading = Reading(**json.loads(bytes(prepared["reading"].tolist()).decode()))
    about = {
        "latentedit": __version__, "recipe": asdict(recipe), "codes": len(x),
        "samples": 0 if samples is None else len(samples), "pictures": len(cells),
        "reading": asdict(reading), "poor": list(reading.poor),
        "loss": float(np.mean(lesson.losses[-1000:])) if lesson.losses else None,
        **({} if start is None else {"from": start.fingerprint()[:12]}),
    }  # fmt: skip
    return Learned(
        known.tags, held, known.codes.shape[1], space, reader,
        lesson.finish(), regions.to(target), related.to(target), _percentiles(known).to(target), about,
    )  # fmt: skip


def is_begun(state: Path) -> bool:
    """Whether a stopped fit has kept anything."""
    return any(_kept_path(state, kind).exists() for kind in KINDS)


def forget(state: Path) -> None:
    """Remove what :func:`learn` kept."""
    for kind in KINDS:
        _kept_path(state, kind).unlink(missing_ok=True)


def faster_type(device: torch.device) -> torch.dtype | None:
    """bfloat16 where products of matrices take half the time in it or less, else None: tried once, milliseconds."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    if device.type != "cpu":
        return None
    took = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.ones(512, 512, dtype=dtype)
        _ = a @ a
        started = time.perf_counter()
        for _ in range(10):
            _ = a @ a
        took[dtype] = time.perf_counter() - started
    return torch.bfloat16 if took[torch.bfloat16] < 0.5 * took[torch.float32] else None


# ---- parts


def _known(
    samples: Samples | None, generator: Generator | None, tags: Sequence[str] | None, tagger: str | None,
    recipe: PriorRecipe,
) -> Stored:  # fmt: skip
    if samples is None:
        assert generator is not None
        if tags:
            raise LatentEditError(
                "a generator alone has no tags; name samples that are tagged, or leave tags out (--tag)"
            )
        return Stored(torch.empty(0, generator.dim), torch.empty(0, 0), ())
    return stored(samples, tags=None if tags is None else tuple(tags), tagger=tagger, most=recipe.most_tags)


def _prepare(
    known: Stored, cells: Tensor, drawn: Tensor, related: Tensor, recipe: PriorRecipe, device: torch.device,
    progress: Callable[[int, int], None] | None, space: CodeSpace | None,
) -> dict[str, Tensor]:  # fmt: skip
    """What is read and worked out before the flow is learned, as tensors."""
    faster = faster_type(device)  # kept, as a busy machine may find another one when a stopped fit goes on
    codes = torch.cat([known.codes, drawn])
    if len(codes) < 100:
        raise LatentEditError(f"there are {len(codes)} codes; a prior needs 100 or more, sample more")
    space = CodeSpace.of(codes) if space is None else space.to(codes.device)
    x = space.enter(known.codes).to(device)
    if known.tags:
        reader, reading = learn_to_read(
            x, known.scores, cells, known.tags, steps=recipe.reading_steps, hidden=recipe.hidden, seed=recipe.seed,
            autocast=faster, progress=progress,
        )  # fmt: skip
    else:
        reader, reading = Reader.of_nothing(space.width), Reading(0, {}, {}, float("nan"))
    count = cells.shape[1] // CHANNELS
    regions = torch.zeros(len(known.tags), count, dtype=torch.bool)
    if count:
        there = known.scores[: len(cells)].isfinite().any(1)
        regions = regions_of(known.scores[: len(cells)][there], cells[there], related)
    network = {f"reader.{name}": value.cpu() for name, value in reader.network.state_dict().items()}
    text = json.dumps(asdict(reading)).encode()
    return network | {
        "mean": space.mean, "axes": space.axes, "deviation": space.deviation,
        "known": reader.known.cpu(), "cells.mean": reader.mean.cpu(), "cells.deviation": reader.deviation.cpu(),
        "regions": regions.to(torch.uint8), "bfloat16": torch.tensor(faster is torch.bfloat16),
        "reading": torch.tensor(list(text), dtype=torch.uint8),
    }  # fmt: skip


def _draw(
    generator: Generator, recipe: PriorRecipe, label: int | None, truncation: float,
    progress: Callable[[int, int], None] | None,
) -> Tensor:  # fmt: skip
    """Codes (n, d) float32 of random z, by ``map_quickly`` where a generator has it: no seed has to find these."""
    random, found = torch.Generator().manual_seed(recipe.seed), []
    draw = getattr(generator, "map_quickly", generator.map)
    for start in range(0, recipe.codes, DRAWN_AT_ONCE):
        n = min(DRAWN_AT_ONCE, recipe.codes - start)
        z = torch.randn(n, generator.z_dim, generator=random)
        found.append(draw(z, label=label, truncation=truncation).detach().float().cpu())
        if progress:
            progress(start + n, recipe.codes)
    return torch.cat(found)


@torch.no_grad()
def _said(reader: Reader, x: Tensor, known: Stored) -> Condition:
    """All that can be said of codes; of tags that cannot be read off them, what is stored of samples."""
    parts = [reader(part) for part in x.split(10_000)]
    scores, named, cells, shown = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("scores", "named", "cells", "shown")
    )
    n = len(known.codes)
    for j in (reader.known == 0).nonzero().flatten().tolist():
        there = known.scores[:, j].isfinite().to(x.device)
        scores[:n, j] = torch.where(there, known.scores[:, j].nan_to_num().to(x.device), scores[:n, j])
        named[:n, j] = there.float()
    return Condition(scores, named, cells, shown)


def _related(tags: Sequence[str], relations: TagRelations) -> Tensor:
    found = torch.eye(len(tags), dtype=torch.bool)
    relations = relations.spelled_as(tags)
    for i, tag in enumerate(tags):
        wide = set(relations.related_to(tag))
        found[i] |= torch.tensor([other in wide for other in tags], dtype=torch.bool)
    return found


def _percentiles(known: Stored) -> Tensor:
    if not known.tags:
        return torch.empty(101, 0)
    return torch.nanquantile(known.scores[:100_000], torch.linspace(0, 1, 101), dim=0)


def _velocity(width: int, tags: int, cells: int, recipe: PriorRecipe) -> Velocity:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return Velocity(width, vector_width(tags, cells), hidden=recipe.hidden, depth=recipe.depth)


def _reader(prepared: dict[str, Tensor]) -> Reader:
    tags, cells = len(prepared["known"]), len(prepared["cells.mean"])
    hidden = len(prepared["reader.body.0.bias"])
    network = Surrogate(len(prepared["deviation"]), tags, cells, hidden=hidden)
    network.load_state_dict({k.removeprefix("reader."): v for k, v in prepared.items() if k.startswith("reader.")})
    network.eval().requires_grad_(False)
    return Reader(network, prepared["known"], prepared["cells.mean"], prepared["cells.deviation"])


class _Kept:
    """What a stopped fit with the same settings has done; nothing without a place for it."""

    def __init__(self, place: Path | None, settings: str) -> None:
        self.place, self.settings = place, settings

    def write(self, kind: str, tensors: dict[str, Tensor]) -> None:
        if self.place is None:
            return
        metadata = {"format": STATE, "schema": "1", "settings": self.settings, "names": json.dumps(sorted(tensors))}
        arrays = {name: value.detach().cpu().numpy() for name, value in tensors.items()}
        write_safetensors(_kept_path(self.place, kind), arrays, metadata)

    def once(self, kind: str, make: Callable[[], Tensor]) -> Tensor:
        """A tensor that is kept, else made and kept."""
        found = self.read(kind)
        if found is None:
            found = {kind: make()}
            self.write(kind, found)
        return found[kind]

    def read(self, kind: str) -> dict[str, Tensor] | None:
        if self.place is None or not (path := _kept_path(self.place, kind)).exists():
            return None
        try:
            _, metadata = read_safetensors(path, format=STATE, schema=1, names=())
            if metadata.get("settings") != self.settings:
                return None
            arrays, _ = read_safetensors(path, format=STATE, schema=1, names=json.loads(metadata["names"]))
        except (DamagedFileError, KeyError, ValueError):
            return None
        return {name: torch.from_numpy(value) for name, value in arrays.items()}


def _kept_path(place: Path, kind: str) -> Path:
    return place.with_name(f".{place.name}.{kind}")
