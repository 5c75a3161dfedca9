"""A prior of one generator's codes: an editor that keeps the individual.

An edit reads a code backwards to noise under the tags (and the far look) that it has, changes what is asked for, comes
forward again, and adds only the difference to the code::

    x' = x + flow(y | new condition) - flow(y | own condition),   y = the code's noise under its own condition

It is StyleFlow's idea (Abdal et al., "StyleFlow: Attribute-conditioned Exploration of StyleGAN-Generated Images using
Conditional Continuous Normalizing Flows", 2021) with flow matching (Lipman et al., 2023), with conditions of which any
subset is named, and in difference form, so that no edit is the code bit for bit. That generators' latents are well
modelled by small generative models: Luo et al., "Learning a Generative Meta-Model of LLM Activations" (2026).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentedit.directions.bank import DirectionBank, check_codes, parse_layers
from latentedit.directions.direction import Direction
from latentedit.directions.edits import DEFAULT_STRENGTH, Edit, EditLike
from latentedit.directions.pairs import TagRelations
from latentedit.errors import LatentEditError, MismatchError
from latentedit.files import visible_files
from latentedit.generators.base import Generator
from latentedit.generators.probe import check_probe, probe_of
from latentedit.pictures.notebook import few, table_html
from latentedit.prior.asking import LADDER, NEAR, REACHED, added_up, share_of
from latentedit.prior.conditions import Condition
from latentedit.prior.fitting import PriorRecipe, Progress, learn
from latentedit.prior.flow import WayBack, carry, guided
from latentedit.prior.networks import Velocity
from latentedit.prior.prior_file import generator_of, read_prior, write_prior
from latentedit.prior.reading import Reader
from latentedit.prior.space import CodeSpace
from latentedit.prior.start import Start
from latentedit.samples.store import Samples, open_samples
from latentedit.shipped import shipped


@dataclass(frozen=True, eq=False)
class Prior:
    """A flow of one generator's codes that knows their tags. Made by :meth:`fit` or :meth:`load`.

    Attributes:
        tags: what can be asked for; none where the samples had no tags.
        generator_id: the only generator that it fits.
        dim: d, numbers of a code.
        layers: names of the generator's slots.
        space: the coordinates that it works in.
        reader: says what a code's picture has.
        velocity: the flow's network.
        regions: (k, c) bool, the cells of the picture that each tag is about.
        related: (k, k) bool, row by row the tags that may change with one, itself included.
        percentiles: (101, k) scores of the samples at 0, 1 ... 100 %.
        generator_name: what the generator was loaded by; empty when unknown.
        tagger_id: whose tags, None where there are none.
        tagger_name: what that tagger was loaded by; empty when unknown.
        generator_probe: what the generator draws, where its id does not say all
            (:mod:`latentedit.generators.probe`); None when unknown.
        about: how it was fitted and how well the tags are read; JSON values.
    """

    tags: tuple[str, ...]
    generator_id: str
    dim: int
    layers: tuple[str, ...]
    space: CodeSpace
    reader: Reader
    velocity: Velocity
    regions: Tensor
    related: Tensor
    percentiles: Tensor
    generator_name: str = ""
    tagger_id: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    tagger_name: str = ""
    generator_probe: str | None = None

    def __repr__(self) -> str:
        return f"Prior({len(self.tags)} tags of {self.generator_id}: {few(self.tags, 8)})"

    def _repr_html_(self) -> str:
        """What is known of it, for notebooks."""
        return table_html(
            [
                ("prior of", self.generator_id), ("numbers", self.dim), ("slots", len(self.layers)),
                ("tagger", self.tagger_id or "none"), (f"{len(self.tags)} tags", few(self.tags, 8)),
            ]
        )  # fmt: skip

    def check_generator(self, generator: Generator) -> None:
        """Refuse another generator.

        Raises:
            MismatchError: this prior was fitted to another one, or its code has changed since.
        """
        if generator.id != self.generator_id:
            raise MismatchError(
                f"this prior fits the generator {self.generator_id}, not {generator.id}; fit one with fit-prior"
            )
        check_probe(
            probe_of(generator), self.generator_probe, holder="this prior", generator_id=generator.id,
            advice="sample again and fit it again",
        )  # fmt: skip

    # ---- fitting

    @classmethod
    def fit(
        cls,
        source: Samples | Generator | str | Path,
        *,
        generator: Generator | None = None,
        tags: Sequence[str] | None = None,
        tagger: str | None = None,
        relations: TagRelations | None = None,
        recipe: PriorRecipe | None = None,
        state: str | Path | None = None,
        device: str = "cpu",
        batch_size: int = 32,
        progress: Progress | None = None,
        start: Prior | None = None,
    ) -> Prior:
        """Learn a prior; minutes on two cores.

        Args:
            source: stored samples (a handle or their folder); or a generator alone, whose prior knows no tags and can
                only settle what others moved.
            generator: of the samples, to look at their pictures and to draw more codes; without it the stored codes
                are all there is, and edits keep only what tags describe.
            tags: to know; None: those that a direction would be fitted for.
            tagger: whose scores, when samples hold those of several.
            relations: which tags may change with which; the shipped ones when None.
            recipe: how.
            state: the file that the prior will be saved to, beside which a stopped fit keeps what it has done
                (``.NAME.drawn``, ``.NAME.flow``, ...); :func:`latentedit.prior.fitting.forget` removes that once the
                prior is saved. None: nothing is kept.
            device: as in torch.
            batch_size: pictures decoded at once.
            progress: called with (what is being done, how much of it is, how much there is).
            start: a prior that knows these tags, or more, whose flow learns on: of more samples, or of a generator
                that was trained a little further and has the same codes. How codes are read is learned anew, so fewer
                samples than it had make a worse one. None: it begins at nothing.

        Raises:
            UnknownNameError: a tag that the tagger does not have.
            MismatchError: samples of another generator, or a start of other codes, or without these tags.
            LatentEditError: a tag that no sample has, too few codes, or a generator that cannot be looked at.
        """
        opened = open_samples(source) if isinstance(source, (str, Path)) else source
        samples = opened if isinstance(opened, Samples) else None
        generator = generator if isinstance(opened, Samples) else opened
        found = learn(
            samples, generator, tags=tags, tagger=tagger, relations=relations or TagRelations.load(),
            recipe=recipe or PriorRecipe(), state=None if state is None else Path(state), device=device,
            batch_size=batch_size, progress=progress,
            start=None if start is None else Start(start.tags, start.space, start.velocity),
        )  # fmt: skip
        name = "" if samples is None else samples.manifest.generator or ""
        layers = generator.layers if generator is not None else samples.manifest.layers if samples is not None else ()
        record = samples.manifest.tagger(samples.tagger_id(tagger)) if samples is not None and found.tags else None
        return cls(
            **vars(found), layers=tuple(layers), generator_name=name,
            tagger_id=record.id if record else None, tagger_name=(record.name or "") if record else "",
            generator_probe=probe_of(generator) if samples is None else samples.manifest.generator_probe,
        )  # fmt: skip

    # ---- editing

    @torch.no_grad()
    def edit(self, codes: Tensor, edits: EditLike) -> Tensor:
        """Codes whose pictures have what is asked for and are otherwise as they were; the input is left alone.

        A strength is guidance: 0 is the code bit for bit, 3 is meant to reach the tag, and a negative one asks for its
        opposite, or its absence. Each face goes the least of the ways of :data:`LADDER` that reaches it at 3; one that
        has what is asked for stays as it is. A goal is the score that is asked for. What is kept is named although it
        may change with the tag otherwise. A ratio of an opposite says nothing to a flow: its opposite is asked to be
        absent.

        Args:
            codes: (n, d) or (n, layers, d), floating point. Codes per slot are read by their mean over the slots.
            edits: an edit, a tag, ``{tag: strength}``, or a list of them, which are asked for together; strengths of
                one tag, and of a tag and its opposite, are added up.

        Returns:
            (n, d); (n, layers, d) when codes are per slot or an edit names layers. Dtype and device of ``codes``.

        Raises:
            UnknownNameError: a tag that the prior does not know, or a slot that the generator does not have.
            LatentEditError: a strength that is a length in code space; something to keep that cannot be kept; codes of
                a wrong shape or not finite.
        """
        parts = added_up(Edit(edits).paired(self.tags).parts)
        for one in parts:
            self._check(one)
        check_codes(codes, self.dim, "a prior takes")
        moved, slots = codes, codes.ndim == 3
        groups: dict[tuple[str, ...] | None, list[Edit]] = {}
        for one in parts:
            groups.setdefault(one.layers, []).append(one)
        for layers, these in sorted(groups.items(), key=lambda pair: pair[0] is not None):  # all slots first
            step = self.step(codes, these)
            if layers is None and not slots:
                moved = moved + step if step is not None else moved
                continue
            if moved.ndim == 2:
                moved = moved[:, None].repeat(1, self._slots(codes), 1)
            chosen = range(self._slots(codes)) if layers is None else parse_layers(layers, self._names(codes))
            if step is not None:
                moved = moved.clone()
                moved[:, list(chosen)] += step[:, None]
        return moved.clone() if moved is codes else moved

    def moves(self, edits: EditLike) -> dict[str, float]:
        """Tag to the strength that it is asked for with, and opposite to minus that: a ratio says nothing to a flow.

        Tags of edits with a goal are left out.

        Raises:
            UnknownNameError: a tag that the prior does not know.
        """
        found: dict[str, float] = {}
        for one in Edit(edits).paired(self.tags).parts:
            strength = DEFAULT_STRENGTH if one.strength is None else one.strength
            for tag, sign in ((one.tag, 1), (one.opposite, -1)):
                if tag is not None and one.goal is None:
                    found[tag] = found.get(tag, 0.0) + sign * strength
        return found

    def step(self, codes: Tensor, parts: Sequence[Edit]) -> Tensor | None:
        """What paired edits add to codes (n, d) or (n, layers, d): (n, d); None where every strength is 0."""
        asked = sorted(((share_of(one), one) for one in parts), key=lambda pair: -pair[0])
        asked = [(share, one) for share, one in asked if share > 0]
        if not asked:
            return None
        x = self.space.enter((codes.mean(1) if codes.ndim == 3 else codes).to(self.space.mean.device))
        own = self.reader(x)
        back = WayBack.of(x, guided(self.velocity, [self.velocity.condition(own.vector())], ()))
        ways, whole = self._least(back, own, [one for _, one in asked])
        rows = (ways >= 0).nonzero().flatten()
        if any(share != 1 for share, _ in asked) and len(rows):
            whole[rows] = self._apart(back[rows], own[rows], asked, ways[rows])
        return self.space.step(whole).to(codes)

    def _least(self, back: WayBack, own: Condition, asked: Sequence[Edit]) -> tuple[Tensor, Tensor]:
        """For each code, the first way of :data:`LADDER` that reaches what is asked for, else the nearest to it.

        Returns:
            (n,) its number, -1 where the code has what is asked for as it is; (n, r) where it goes at full strength.
        """
        x = back.places[0]
        nearest, chosen = self._missing(x, asked), torch.full((len(x),), -1, device=x.device)
        moved, open_ = torch.zeros_like(x), nearest > 0
        nearest[open_] = torch.inf  # staying is no answer where something is asked for
        for number in range(len(LADDER)):
            rows = open_.nonzero().flatten()
            if not len(rows):
                break
            way = torch.full_like(rows, number)
            apart = self._apart(back[rows], own[rows], [(1.0, one) for one in asked], way)
            missing = self._missing(x[rows] + apart, asked)
            better = missing < nearest[rows]
            moved[rows[better]], chosen[rows[better]] = apart[better], number
            nearest[rows] = torch.minimum(nearest[rows], missing)
            open_[rows] = missing > 0
        return chosen, moved

    def _missing(self, x: Tensor, asked: Sequence[Edit]) -> Tensor:
        """How far the scores of coordinates are from what is asked for, (n,) in [0, 1], the farthest of them; 0: there.

        By the surrogate, whose word has a margin: what is asked for is a score of 0.98, not the tagger's threshold.
        """
        scores = self.reader(x).scores
        found = torch.zeros(len(x), device=x.device)
        for one in asked:
            for tag, towards in self._wanted(one).items():
                off = scores[:, self.tags.index(tag)] - towards
                past = off < 0 if towards > 0.5 else off > 0
                off = off.abs() if one.goal is not None else torch.where(past, off.abs(), 0.0)
                found = torch.maximum(found, off * (off > (NEAR if one.goal is not None else 0)))
        return found

    def _apart(self, back: WayBack, own: Condition, asked: Sequence[tuple[float, Edit]], ways: Tensor) -> Tensor:
        """How far coordinates go when edits are asked for, each at a share of its full strength, by the ways of
        these numbers (n,): (n, r)."""
        conditions, now = [own], own
        shares: list[float] = []
        for i, (share, one) in enumerate(asked):
            now = self._change(now, one, ways, asked=[other for _, other in asked[: i + 1]])
            if shares and share == shares[-1]:
                conditions[-1] = now
            else:
                conditions.append(now)
                shares.append(share)
        embedded = [self.velocity.condition(one.vector()) for one in conditions]
        pull = back.places.new_tensor([way.guidance for way in LADDER])[ways][:, None]
        return back.difference(guided(self.velocity, embedded, [share * pull for share in shares]))

    def _change(self, now: Condition, one: Edit, ways: Tensor, asked: Sequence[Edit]) -> Condition:
        """A condition with one more edit: its tag and opposite as asked, what may change with them unnamed."""
        i = self.tags.index(one.tag)
        scores, named, shown = now.scores.clone(), now.named.clone(), now.shown.clone()
        stay = [self.tags.index(tag) for tag in one.keep]
        free = self.related[i].clone()
        free[stay] = False
        for other in asked:  # what was asked for together with this one stays asked for
            free[[self.tags.index(tag) for tag in (other.tag, other.opposite) if tag is not None]] = False
        named[:, free] = 0
        named[:, stay] = 1
        shown[torch.stack([way.cells(self.regions[i]) for way in LADDER])[ways]] = 0
        for tag, towards in self._wanted(one).items():
            j = self.tags.index(tag)
            scores[:, j], named[:, j] = towards, 1
        return Condition(scores, named, now.cells, shown)

    def _wanted(self, one: Edit) -> dict[str, float]:
        """The scores that an edit asks for, of its tag and its opposite."""
        towards = REACHED if one.goal is None else self._goal(one)
        if one.strength is not None and one.strength < 0:
            towards = 1 - towards
        return {one.tag: towards} | ({} if one.opposite is None else {one.opposite: 1 - towards})

    def _goal(self, one: Edit) -> float:
        """The score that a goal stands for."""
        if isinstance(one.goal, str):
            share = float(one.goal.removeprefix("p")) / 100
            return float(torch.quantile(self.percentiles[:, self.tags.index(one.tag)], share))
        assert one.goal is not None
        return one.goal

    def _check(self, one: Edit) -> None:
        if one.unit != "sigma":
            raise LatentEditError(
                f"{one}: a prior has no coefficients and no lengths to take {one.unit} strengths of; "
                "leave --raw out (unit='sigma')"
            )
        for tag in one.keep:
            if tag not in self.tags:
                raise LatentEditError(
                    f"{one}: this prior cannot keep {tag!r}, which it does not know; it knows {', '.join(self.tags)}"
                )

    def _slots(self, codes: Tensor) -> int:
        return len(self._names(codes))

    def _names(self, codes: Tensor) -> Sequence[str]:
        if codes.ndim == 3 and self.layers and codes.shape[1] != len(self.layers):
            raise LatentEditError(
                f"codes have {codes.shape[1]} slots; the generator has {len(self.layers)}: {', '.join(self.layers)}"
            )
        if self.layers:
            return self.layers
        if codes.ndim == 3:
            return [str(i) for i in range(codes.shape[1])]
        raise LatentEditError(
            "this prior does not know the generator's slots; leave layers out (--layers), or give codes (n, layers, d)"
        )

    @torch.no_grad()
    def settle(self, codes: Tensor, moved: Tensor, *, time: float) -> Tensor:
        """Codes that were moved along a line, carried to where codes lie: (n, d).

        A code and the moved one are mixed with the code's own noise as at that time of the flow, and both come forward
        from there without a condition; the difference is added to the code.

        Args:
            codes, moved: (n, d).
            time: in [0, 1]; 1 leaves the moved codes as they are, at 0 nothing is left of the move.
        """
        device = self.space.mean.device
        x, y = (self.space.enter(part.to(device)) for part in (codes, moved))
        nothing = self.reader(x)
        nothing = Condition(
            nothing.scores, torch.zeros_like(nothing.named), nothing.cells, torch.zeros_like(nothing.shown)
        )
        field = guided(self.velocity, [self.velocity.condition(nothing.vector())], ())
        noise = carry(x, 1.0, 0.0, field)
        there, here = (carry(time * part + (1 - time) * noise, time, 1.0, field) for part in (y, x))
        return codes + self.space.step(there - here).to(codes)

    def directions(self, codes: Tensor, *, strength: float = DEFAULT_STRENGTH) -> DirectionBank:
        """The mean step of every tag over codes as a line, for tools that know only lines.

        Args:
            codes: (n, d) to take the mean over, such as those of a hundred seeds.
            strength: of the edits; ``sigma`` of a direction is the mean step's length over it.

        Raises:
            LatentEditError: a prior without tags.
        """
        if not self.tags:
            raise LatentEditError("this prior has no tags, so it has no steps to take the mean of")
        found = []
        for tag in self.tags:
            step = (self.edit(codes, Edit(tag, strength)) - codes).cpu().double().mean(0)
            length = float(torch.linalg.vector_norm(step))
            if length > 0:
                found.append(
                    Direction(
                        tag, (step / length).float(), length / strength, self.generator_id, coefficient_norm=None,
                        finder="prior", layers=self.layers, tagger_id=self.tagger_id,
                    )
                )  # fmt: skip
        return DirectionBank(found, generator_name=self.generator_name, generator_probe=self.generator_probe)

    # ---- files

    def arrays(self) -> dict[str, np.ndarray]:
        """All its numbers by name, as a file has them: the networks in half precision."""
        networks = {"velocity": self.velocity, "reader": self.reader.network}
        arrays: dict[str, np.ndarray] = {
            f"{kind}.{name}": value.half().cpu().numpy()
            for kind, network in networks.items()
            for name, value in network.state_dict().items()
        }
        own = {
            "mean": self.space.mean, "axes": self.space.axes, "deviation": self.space.deviation,
            "known": self.reader.known, "cells.mean": self.reader.mean, "cells.deviation": self.reader.deviation,
            "regions": self.regions, "related": self.related, "percentiles": self.percentiles,
        }  # fmt: skip
        return arrays | {name: value.cpu().numpy() for name, value in own.items()}

    def save(self, path: str | Path) -> None:
        """Write the prior to a safetensors file, atomically; the networks in half precision."""
        write_prior(
            path, self.arrays(), tags=self.tags, layers=self.layers, about=self.about, generator_id=self.generator_id,
            generator_name=self.generator_name, generator_probe=self.generator_probe, tagger_id=self.tagger_id,
            tagger_name=self.tagger_name,
        )  # fmt: skip

    @classmethod
    def load(cls, path: str | Path, *, device: str | torch.device = "cpu") -> Prior:
        """A prior that :meth:`save` wrote.

        Raises:
            DamagedFileError: missing, truncated, of another kind, or written by a newer latentedit.
        """
        return cls(**read_prior(path, device))

    @classmethod
    def load_default(cls, generator: Generator) -> Prior:
        """The shipped prior of a generator, chosen by its id.

        Raises:
            LatentEditError: none comes with latentedit.
        """
        for path in visible_files(shipped("directions"), "*.prior.safetensors"):
            if generator_of(path) == generator.id:
                return cls.load(path)
        raise LatentEditError(
            f"no prior of the generator {generator.id} comes with latentedit; run `latentedit fit-prior`"
        )
