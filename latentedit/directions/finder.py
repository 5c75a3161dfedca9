"""The contract of a finder, :func:`fit_directions`, and what all finders share.

A finder is a frozen dataclass of hyperparameters; nothing fitted stays on it::

    @register_finder("mean-difference")
    @dataclass(frozen=True)
    class MeanDifference:
        name: ClassVar[str] = "mean-difference"
        needs: ClassVar[str] = "moments"           # or "weights" (a generator), or "rows" (a Samples handle)

        def fit(self, source, *, tags=None) -> list[Direction]: ...

Where there is nothing to set, a plain function of moments will do::

    @register_finder("mean-difference")
    def mean_difference(moments: Moments) -> list[Direction]: ...

Other packages declare theirs as an entry point of the group ``latentedit.finders``. A class is made with its
defaults when it is asked for by name; ``fit_directions`` also takes an object, such as ``Lasso(alpha=0.01)``.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from latentedit.directions.bank import DirectionBank
from latentedit.directions.direction import Direction
from latentedit.directions.evidence import chance_line, shared_line
from latentedit.directions.held_out import HeldOut, held_out, line_fit, projection_std
from latentedit.directions.moments import Moments, Target
from latentedit.directions.statistics import Array, Statistics
from latentedit.errors import LatentEditError, MismatchError, UnknownNameError
from latentedit.generators.base import Generator
from latentedit.generators.probe import probe_of
from latentedit.registry import Registry
from latentedit.samples.store import Samples, open_samples
from latentedit.taggers.tag_names import found_tag

STILL = 1e-6
"""Codes that deviate less along a direction, as a share of how they deviate in all, do not vary along it."""

FINDERS = Registry(
    "finder",
    "latentedit.finders",
    {
        "sefa": "latentedit.directions.sefa:SeFa",
        "linear": "latentedit.directions.linear:Linear",
        "lasso": "latentedit.directions.lasso:Lasso",
        "svd": "latentedit.directions.svd:SVD",
    },
)
register_finder = FINDERS.register
"""Decorator: registers a finder class, a finder, or a function of moments under a name."""

Needs = Literal["weights", "moments", "rows"]
Source = Samples | Moments | Generator | str | Path


@runtime_checkable
class Finder(Protocol):
    """A method that finds directions."""

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> str:
        """What ``fit`` takes: "weights" (a Generator), "moments" (Moments) or "rows" (Samples)."""
        ...

    def fit(self, source: Any, *, tags: Sequence[str] | None = None) -> list[Direction]:
        """Directions of some tags, or of all; tags that no direction can be found for are left out with a warning."""
        ...


@dataclass(frozen=True)
class FunctionFinder:
    """A finder made of a function ``fit(source) -> list[Direction]``; ``needs`` may be set on the function."""

    name: str
    function: Callable[[Any], list[Direction]]
    needs: str = "moments"

    def fit(self, source: Any, *, tags: Sequence[str] | None = None) -> list[Direction]:
        """What the function finds, of the asked tags.

        Raises:
            UnknownNameError: it finds no such tag.
        """
        found = {direction.tag: direction for direction in self.function(source)}
        return list(found.values()) if tags is None else [found[found_tag(tag, found)] for tag in tags]


def resolve_finder(finder: str | Finder | Callable[[Moments], list[Direction]]) -> Finder:
    """A finder from a registered name, a finder class, a finder, or a function of moments.

    Options follow a name as ``sefa?variant=raw&k=16``.

    Raises:
        UnknownNameError: no finder is called so, or it has no such option.
        LatentEditError: something else.
    """
    thing: Any = finder
    if isinstance(finder, str):
        thing, _, options = FINDERS.resolve(finder)
        thing = _with_options(thing, options) if options else thing
    if isinstance(thing, type):
        thing = thing()
    if not hasattr(thing, "fit") and callable(thing):
        name = finder if isinstance(finder, str) else getattr(thing, "__name__", "function")
        thing = FunctionFinder(name, thing, getattr(thing, "needs", "moments"))
    if not isinstance(thing, Finder) or thing.needs not in ("weights", "moments", "rows"):
        raise LatentEditError(
            f"{thing!r} is no finder; give a name ({', '.join(FINDERS.names())}), a function of moments, "
            "or an object with name, needs ('weights', 'moments' or 'rows') and fit"
        )
    return thing


def _with_options(thing: Any, options: Mapping[str, str]) -> Any:
    """A finder of a class of hyperparameters; numbers and tuples are written as in Python."""
    known = {f.name for f in fields(thing)} if is_dataclass(thing) and isinstance(thing, type) else set()
    values: dict[str, Any] = {}
    for name, text in options.items():
        if name not in known:
            raise UnknownNameError("option of the finder", name, known)
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[name] = text
    return thing(**values)


def fit_directions(
    source: Source,
    *,
    finder: str | Finder | Callable[[Moments], list[Direction]] = "lasso",
    tags: Sequence[str] | None = None,
    keep: Collection[str] = (),
    tagger: str | None = None,
    target: Target = "binary",
    generator: Generator | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DirectionBank:
    """Find one direction per tag.

    Args:
        source: stored samples (a handle or their folder), moments (an object or their file), or a generator.
        finder: a registered name, a finder such as ``Lasso(alpha=0.01)``, or a function of moments.
        tags: tags to fit whatever their share of the rows; None: see :func:`latentedit.samples.tag_filter.select_tags`.
        keep: tags to fit although they are on the list of dropped ones, if common enough; ``rating:`` for all of these.
        tagger: whose scores, when samples hold those of several.
        target: "binary" (the score reaches the tagger's threshold) or "score"; for samples.
        generator: for finders that read weights. When ``source`` holds tags, each tag is given the found
            component that correlates most with it; without them the components keep their numbers.
        progress: called with (rows done, rows in all) while samples are read.

    Raises:
        UnknownNameError: no such finder, tag or tagger.
        MismatchError: samples of another generator.
        LatentEditError: the finder needs something else, or no direction was found.
    """
    method = resolve_finder(finder)
    if isinstance(source, (str, Path)):
        source = Moments.load(source) if Path(source).is_file() else open_samples(source)
    rows = source if isinstance(source, Samples) else None
    moments = source if isinstance(source, Moments) else None
    if rows is None and moments is None:
        generator = generator or cast(Generator, source)
    _check_source(method, rows, moments, generator)
    if rows is not None and method.needs != "rows" and (method.needs == "moments" or rows.taggers):
        moments = Moments.from_samples(rows, tags=tags, keep=keep, tagger=tagger, target=target, progress=progress)
    if method.needs == "moments":
        found = method.fit(moments, tags=tags)
    elif method.needs == "rows":
        found = method.fit(rows, tags=tags)
    elif moments is None:
        found = method.fit(generator, tags=tags)
    else:
        found = match_by_correlation(method.fit(generator), moments, tags=tags)
    if not found:
        raise LatentEditError(f"{method.name} found no direction for any tag; see the warnings above")
    for line in (shared_line(found), chance_line(found)):
        if line:
            warnings.warn(line, stacklevel=2)
    if generator is not None:
        found = [d if d.layers else replace(d, layers=tuple(generator.layers)) for d in found]
    if rows is None:
        return DirectionBank(found, generator_probe=probe_of(generator))
    tagged = moments is not None or method.needs == "rows"
    name = rows.manifest.tagger(rows.tagger_id(tagger)).name if tagged and rows.taggers else None
    return DirectionBank(
        found, generator_name=rows.manifest.generator or "", tagger_name=name or "",
        generator_probe=rows.manifest.generator_probe,
    )  # fmt: skip


def _check_source(method: Finder, rows: Samples | None, moments: Moments | None, generator: Generator | None) -> None:
    """Raise unless the finder's needs are met."""
    seen = rows if rows is not None else moments
    if seen is None and not isinstance(generator, Generator):
        raise LatentEditError(
            f"cannot fit directions from {type(generator).__name__}; give Samples, their folder, Moments or a Generator"
        )
    if method.needs == "weights" and generator is None:
        raise LatentEditError(
            f"{method.name} reads a generator's weights; name it (--generator; generator=... beside the samples)"
        )
    if method.needs == "moments" and seen is None:
        raise LatentEditError(
            f"{method.name} learns from tagged samples; make them with `latentedit sample` and name those"
        )
    if method.needs == "rows" and rows is None:
        raise LatentEditError(f"{method.name} reads every row; give Samples or their folder")
    if generator is not None and seen is not None and generator.id != seen.generator_id:
        raise MismatchError(f"samples of {seen.generator_id} and the generator {generator.id} do not belong together")
    if generator is not None and rows is not None:
        rows.check_generator(generator.id, probe=probe_of(generator))


# ---- shared by the finders


def varies(s: Statistics) -> NDArray[np.bool_]:
    """Whether each target (t,) differs between rows by more than rounding."""
    return s.c_yy > 1e-20 * (s.c_yy + s.count_y * np.square(s.mean_y))


def make_directions(
    moments: Moments,
    coefficients: Array,
    *,
    finder: str,
    params: Sequence[Mapping[str, Any]],
    scores: HeldOut | None,
    tags: Sequence[str] | None = None,
    unit_coefficients: bool = False,
) -> list[Direction]:
    """Directions from one column of ``coefficients`` (d, t) per tag of the moments.

    Targets that never change, columns that are zero or not finite, and columns that codes do not vary along make
    no direction; a warning names them.

    Args:
        params: of each tag.
        scores: what held-out folds say of each tag.
        tags: those to return, in this order; all when None.
        unit_coefficients: the length of a column means nothing; coefficient_norm is 1.
    """
    whole, counts = moments.whole, moments.tag_counts
    norms = np.linalg.norm(coefficients, axis=0)  # (t,)
    vectors = np.divide(coefficients, norms, out=np.zeros_like(coefficients), where=(norms > 0) & np.isfinite(norms))
    sigmas, changes = projection_std(vectors, whole), varies(whole)
    still = STILL * np.sqrt(np.trace(whole.c_xx) / max(whole.count, 1))
    found, lost = [], []
    for j in moments.columns(tags):
        if not (changes[j] and np.isfinite(vectors[:, j]).all() and sigmas[j] > still):
            lost.append(moments.tags[j])
            continue
        score, evidence = _evidence(scores, j)
        found.append(
            Direction(
                tag=moments.tags[j], vector=torch.from_numpy(vectors[:, j].astype(np.float32)),
                sigma=float(sigmas[j]), coefficient_norm=1.0 if unit_coefficients else float(norms[j]), finder=finder,
                params={**params[j], **evidence, "target": moments.target, **_labelled_rows(moments, j)},
                generator_id=moments.generator_id,
                layers=moments.layers, tagger_id=moments.tagger_id, truncation=moments.truncation, score=score,
                support=counts[moments.tags[j]],
            )
        )  # fmt: skip
    warn_lost(finder, lost)
    return found


def _labelled_rows(moments: Moments, j: int) -> dict[str, int]:
    """What params say of a tag that some rows have no label for."""
    rows = moments.label_counts[moments.tags[j]]
    return {"labelled_rows": rows} if rows < moments.count else {}


def _evidence(scores: HeldOut | None, j: int) -> tuple[float | None, dict[str, float]]:
    """Held-out R2 of tag j, and how its prediction correlates with its target; nothing where nothing was held out."""
    if scores is None or not np.isfinite(scores.r2[j]):
        return None, {}
    return float(scores.r2[j]), {
        "held_out_correlation": float(scores.correlation[j]), "held_out_low": float(scores.low[j])
    }  # fmt: skip


def warn_lost(finder: str, tags: Iterable[str]) -> None:
    """Say which tags have no direction."""
    names = ", ".join(tags)
    if names:
        warnings.warn(
            f"{finder} found no direction for {names}: they do not vary with the codes, or codes not along them",
            stacklevel=3,
        )


def match_by_correlation(
    components: Sequence[Direction], moments: Moments, *, tags: Sequence[str] | None = None
) -> list[Direction]:
    """Give each tag the component whose projection correlates most with its target, turned towards the tag.

    Several tags may get the same component. Params gain ``matched_by``, ``component``, ``correlation``, and
    ``correlation_by_chance``: what the largest of as many correlations stays below, 95 times of 100, where codes and
    targets have nothing to do with each other.

    Raises:
        MismatchError: components of another generator, or not one vector per direction.
    """
    if not components or any(d.generator_id != moments.generator_id or d.vector.ndim != 1 for d in components):
        raise MismatchError(f"only components (d,) of {moments.generator_id} can be matched with these moments")
    from scipy.stats import norm

    whole = moments.whole
    v = np.stack([d.vector.double().numpy() for d in components], 1)  # (d, k)
    known = np.maximum(whole.count_y, 1)  # (t,)
    spread = np.outer(projection_std(v, whole), np.sqrt(whole.c_yy / known)) * known  # (k, t)
    correlation = np.divide(v.T @ whole.c_xy, spread, out=np.zeros_like(spread), where=spread > 0)  # (k, t)
    correlation = correlation.clip(-1, 1)  # the spread of codes is that of all rows, not of a tag's few
    correlation[:, ~varies(whole)] = 0
    best = np.abs(correlation).argmax(0)  # (t,)
    chosen = v[:, best]  # (d, t)
    scores = held_out(moments, lambda train: line_fit(chosen, train))
    chance = float(norm.isf(0.05 / (2 * len(components)))) / np.sqrt(known)  # (t,)
    found, lost = [], []
    for j in moments.columns(tags):
        component, value = components[best[j]], float(correlation[best[j], j])
        if not value:
            lost.append(moments.tags[j])
            continue
        params = {
            **component.params, "matched_by": "correlation", "component": component.tag, "correlation": value,
            "correlation_by_chance": float(chance[j]),
            **_labelled_rows(moments, j),
        }  # fmt: skip
        found.append(
            replace(
                component, tag=moments.tags[j], vector=component.vector * float(np.sign(value)), params=params,
                tagger_id=moments.tagger_id, support=moments.tag_counts[moments.tags[j]],
                score=_evidence(scores, j)[0],
            )
        )  # fmt: skip
    warn_lost(components[0].finder, lost)
    return found
