"""Moments: everything that a finder may know about tagged codes, gathered in one pass.

The rows are style codes x (d numbers) with targets y (one per tag). Kept are counts, means and
centred sums in float64, once per fold::

    count, mean_x (d,), c_xx (d, d), mean_y (t,), c_xy (d, t), c_yy (t,)      c_ab = sum (a - mean_a)(b - mean_b)
    count_y (t,), offset_x (d, t)                          of the rows whose target is known, see :mod:`.statistics`

and, over all folds together, count, mean and centred sum of the rows that *carry* each tag, for SVD.
Sums of raw products would lose digits when the codes lie far from the origin, so batches are centred first
and joined by the pairwise rule of Chan, Golub & LeVeque, "Algorithms for Computing the Sample Variance"
(1983), eq. 2.1; for one row it is Welford's update (1962). Hence the answer depends on batch size and order
only by rounding, and moments of separate machines merge.

A target that is not known is NaN: its row counts for c_xx, and not for that tag's mean, cross moments, c_yy and
carriers. Finders use c_xy / count_y, which is right where labels are missing at random.

Folds: a row belongs to one of FOLDS = 5 folds by its *group* (its content picture, else its seed), so rows
of one picture are never on both sides of a held-out test. :meth:`Moments.train_without` gives the other
four folds; held-out R2 and the Lasso's alpha need no second pass.

Usage::

    moments = Moments.from_samples(samples)                        # streams once, then cached beside the samples
    moments = Moments(dim=512, tags=["long_hair"], generator_id=g.id)
    moments.update(codes, targets, groups=seeds)                   # as often as there are batches
    moments.merge(other)
    moments.save("moments.safetensors")

``Moments`` changes with ``update`` and ``merge``; what it hands out (:class:`Statistics`, :class:`Tagged`)
is frozen and never changes. Memory: 8 d^2 (5 + t) bytes, so 96 MB for d = 512 and 42 tags.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentedit.directions.statistics import Array, Statistics, Tagged, combine, summarise
from latentedit.errors import DamagedFileError, LatentEditError, MismatchError, UnknownNameError
from latentedit.pictures.notebook import few, table_html
from latentedit.samples.tag_filter import select_tags
from latentedit.taggers.tag_names import found_tag
from latentedit.tensorfile import read_safetensors, write_safetensors

if TYPE_CHECKING:
    from latentedit.samples.store import Samples

Target = Literal["binary", "score"]

FOLDS = 5
SCHEMA = 2
"""1 had no count_y and offset_x: every target was known."""
FORMAT = "latentedit.moments"
_SINCE_2 = ("count_y", "offset_x")
_FIELDS = ("mean_x", "c_xx", "mean_y", "c_xy", "c_yy", *_SINCE_2)
CACHE = "moments"
"""Folder of moments that are kept, beside the samples."""


def fold_of(groups: ArrayLike) -> NDArray[np.int64]:
    """Fold 0 ... FOLDS - 1 of each group number (n,), by Fibonacci hashing (Knuth, TAOCP 3, section 6.4).

    Neighbouring numbers land in different folds, and so do equally spaced ones: any five consecutive
    groups fill the five folds, where ``group % 5`` would put seeds 0, 5, 10, ... into one.
    """
    with np.errstate(over="ignore"):
        mixed = np.asarray(groups).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio
    return ((mixed >> np.uint64(32)) * np.uint64(FOLDS) >> np.uint64(32)).astype(np.int64)


class Moments:
    """Moments of codes (n, dim) and targets (n, tags) that rows are added to.

    Args:
        dim: d, length of a code.
        tags: names of the targets' columns.
        generator_id: whose codes these are.
        tagger_id: whose scores the targets come from, if any.
        layers: the generator's slot names; they travel to the directions.
        truncation: of the sampled codes.
        threshold: score from which most tags count as present.
        target: "binary" (y is 1 where the score reaches the threshold) or "score".
        sources: hashes of the samples that the rows come from.

    Raises:
        LatentEditError: no tags, a tag twice, or a bad number.
    """

    def __init__(
        self,
        dim: int,
        tags: Sequence[str],
        *,
        generator_id: str,
        tagger_id: str | None = None,
        layers: Sequence[str] = (),
        truncation: float = 1.0,
        threshold: float = 0.5,
        target: Target = "binary",
        sources: Iterable[str] = (),
    ) -> None:
        if target not in ("binary", "score"):
            raise UnknownNameError("target", str(target), ("binary", "score"))
        if dim < 1 or not tags or len(set(tags)) != len(tags):
            raise LatentEditError(f"dim={dim}, {len(tags)} tags: moments need a length and tags that differ")
        self.dim, self.tags = int(dim), tuple(tags)
        self.generator_id, self.tagger_id, self.layers = generator_id, tagger_id, tuple(layers)
        self.truncation, self.threshold, self.target = float(truncation), float(threshold), target
        self.sources = tuple(sorted(set(sources)))
        t = len(self.tags)
        self._folds = [Statistics.empty(dim, t)] * FOLDS
        self._tag_count = np.zeros(t, np.int64)
        self._tag_mean = np.zeros((t, dim))
        self._tag_c_xx = np.zeros((t, dim, dim))

    # -- what goes in

    def update(
        self, codes: ArrayLike, targets: ArrayLike, *, groups: ArrayLike, present: ArrayLike | None = None
    ) -> None:
        """Add rows, O(n d (d + t)).

        Args:
            codes: (n, d) numpy array or torch tensor, finite.
            targets: (n, t) numbers, one column per tag; NaN where a row has no label for it.
            groups: (n,) integers; rows of one group share a fold.
            present: (n, t) bool, which rows carry which tag; None: targets >= 0.5 for the target "binary",
                targets >= threshold for "score". A row without a label carries nothing.

        Raises:
            LatentEditError: shapes that do not fit, codes that are not finite, or infinite targets; nothing is added
                then.
        """
        x, y, g = _array(codes, np.float64), _array(targets, np.float64), _array(groups, np.int64)
        n, t = len(x), len(self.tags)
        if x.shape != (n, self.dim) or y.shape != (n, t) or g.shape != (n,):
            wanted = f"(n, {self.dim}), (n, {t}), (n,)"
            raise LatentEditError(f"codes {x.shape}, targets {y.shape}, groups {g.shape}; these moments take {wanted}")
        for name, bad, what in (("codes", ~np.isfinite(x), "NaN or infinity"), ("targets", np.isinf(y), "infinity")):
            if bad.any():
                raise LatentEditError(f"row {int(bad.any(1).argmax())} of {name} holds {what}; leave that row out")
        limit = 0.5 if self.target == "binary" else self.threshold
        carries = y >= limit if present is None else _array(present, bool)
        if carries.shape != (n, t):
            raise LatentEditError(f"present has shape {carries.shape}; give ({n}, {t})")
        self._add(x, y, fold_of(g), carries & ~np.isnan(y))

    def _add(self, x: Array, y: Array, folds: NDArray[np.int64], carries: NDArray[np.bool_]) -> None:
        for fold in np.unique(folds):
            rows = folds == fold
            self._folds[fold] = combine(self._folds[fold], summarise(x[rows], y[rows]))
        for j in np.flatnonzero(carries.any(0)):
            rows = x[carries[:, j]]  # (m, d)
            mean = rows.mean(0)
            self._join_tag(int(j), len(rows), mean, (rows - mean).T @ (rows - mean))

    def _join_tag(self, j: int, count: int, mean: Array, c_xx: Array) -> None:
        """Chan's rule for tag j, in place: these arrays are the large ones."""
        if not count:
            return
        before, n = self._tag_count[j], self._tag_count[j] + count
        shift = mean - self._tag_mean[j]
        self._tag_c_xx[j] += c_xx
        self._tag_c_xx[j] += (before * count / n) * np.outer(shift, shift)
        self._tag_mean[j] = (before * self._tag_mean[j] + count * mean) / n
        self._tag_count[j] = n

    def merge(self, other: Moments) -> None:
        """Add the rows of other moments; which of them comes first matters by rounding only.

        Raises:
            MismatchError: they are of another generator, tagger, tag list, target, threshold or truncation.
        """
        mine, theirs = self._identity(), other._identity()
        for key in mine:
            if mine[key] != theirs[key]:
                raise MismatchError(f"these moments differ in {key}: {mine[key]!r} and {theirs[key]!r}; fit them apart")
        self._folds = [combine(a, b) for a, b in zip(self._folds, other._folds, strict=True)]
        for j in range(len(self.tags)):
            self._join_tag(j, int(other._tag_count[j]), other._tag_mean[j], other._tag_c_xx[j])
        self.sources = tuple(sorted({*self.sources, *other.sources}))

    def clone(self) -> Moments:
        """A copy that shares nothing that can change."""
        copy = Moments(self.dim, sources=self.sources, **self._init_arguments())
        copy.merge(self)
        return copy

    def _identity(self) -> dict[str, Any]:
        return {"dim": self.dim, **self._init_arguments()}

    def _init_arguments(self) -> dict[str, Any]:
        names = ("tags", "generator_id", "tagger_id", "layers", "truncation", "threshold", "target")
        return {name: getattr(self, name) for name in names}

    # -- what comes out

    def __repr__(self) -> str:
        tags = f"{len(self.tags)} tags: {few(self.tags, 8)}"
        return f"Moments({self.count} rows of {self.dim} numbers of {self.generator_id}, {tags})"

    def _repr_html_(self) -> str:
        """How many rows carry each tag, for notebooks."""
        labelled = self.label_counts
        rows = [(tag, n, f"{n / max(labelled[tag], 1):.1%}") for tag, n in self.tag_counts.items()]
        return table_html(rows, ("tag", "rows", "share"))

    @property
    def count(self) -> int:
        """Rows seen."""
        return sum(fold.count for fold in self._folds)

    @property
    def tag_counts(self) -> dict[str, int]:
        """Rows that carry each tag."""
        return dict(zip(self.tags, self._tag_count.tolist(), strict=True))

    @property
    def label_counts(self) -> dict[str, int]:
        """Rows with a label for each tag."""
        counts = np.sum([fold.count_y for fold in self._folds], axis=0)
        return dict(zip(self.tags, counts.tolist(), strict=True))

    @property
    def usable_folds(self) -> tuple[int, ...]:
        """Folds that hold rows, when there are at least two; else none, and nothing can be held out."""
        filled = tuple(k for k, fold in enumerate(self._folds) if fold.count)
        return filled if len(filled) > 1 else ()

    @property
    def whole(self) -> Statistics:
        """Statistics of all rows."""
        return self._join(range(FOLDS))

    def fold(self, k: int) -> Statistics:
        """Statistics of the rows of fold k."""
        return self._join([k])

    def train_without(self, k: int) -> Statistics:
        """Statistics of the rows of all folds but k."""
        return self._join([i for i in range(FOLDS) if i != k])

    def _join(self, folds: Iterable[int]) -> Statistics:
        chosen = [self._folds[k] for k in folds]
        result = chosen[0]
        for statistics in chosen[1:]:
            result = combine(result, statistics)
        return result

    def tagged(self, tag: str) -> Tagged:
        """Count, mean and centred sum of the rows that carry a tag; copies.

        Raises:
            UnknownNameError: not a tag of these moments.
        """
        (j,) = self.columns([tag])
        return Tagged(int(self._tag_count[j]), self._tag_mean[j].copy(), self._tag_c_xx[j].copy())

    def columns(self, tags: Sequence[str] | None = None) -> list[int]:
        """Column numbers of some tags, or of all.

        Raises:
            UnknownNameError: not a tag of these moments.
        """
        if tags is None:
            return list(range(len(self.tags)))
        return [self.tags.index(found_tag(tag, self.tags)) for tag in tags]

    # -- files

    def save(self, path: str | Path) -> None:
        """Write everything to a safetensors file, atomically."""
        tensors: dict[str, NDArray[Any]] = {f: np.stack([getattr(s, f) for s in self._folds]) for f in _FIELDS}
        tensors["count"] = np.array([s.count for s in self._folds], np.int64)
        tensors |= {"tag_count": self._tag_count, "tag_mean": self._tag_mean, "tag_c_xx": self._tag_c_xx}
        about = {"dim": self.dim, **self._init_arguments(), "sources": self.sources}
        write_safetensors(path, tensors, {"format": FORMAT, "schema": str(SCHEMA), "about": json.dumps(about)})

    @classmethod
    def load(cls, path: str | Path) -> Moments:
        """Moments that :meth:`save` wrote.

        Raises:
            DamagedFileError: missing, truncated, of another kind, or written by a newer latentedit.
        """
        names = (*_FIELDS, "count", "tag_count", "tag_mean", "tag_c_xx")
        arrays, metadata = read_safetensors(path, format=FORMAT, schema=SCHEMA, names=names, optional=_SINCE_2)
        try:
            moments = cls(**json.loads(metadata["about"]))
        except (KeyError, TypeError, ValueError, LatentEditError) as error:
            raise DamagedFileError(f"{path}: damaged description ({error}); delete it and run again") from error
        d, t = moments.dim, len(moments.tags)
        if metadata["schema"] == "1":
            arrays["count_y"] = np.repeat(arrays["count"][:, None], t, 1)
            arrays["offset_x"] = np.zeros((FOLDS, d, t))
        shapes = ((FOLDS, d), (FOLDS, d, d), (FOLDS, t), (FOLDS, d, t), (FOLDS, t), (FOLDS, t), (FOLDS, d, t))
        for name, shape in zip(names, (*shapes, (FOLDS,), (t,), (t, d), (t, d, d)), strict=True):
            if name not in arrays or arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
                raise DamagedFileError(f"{path}: {name} is damaged; delete the file and run again")
        fields = [arrays[name].astype(np.int64 if name == "count_y" else np.float64) for name in _FIELDS]
        moments._folds = [Statistics(int(n), *(f[k] for f in fields)) for k, n in enumerate(arrays["count"])]
        moments._tag_count, moments._tag_mean = arrays["tag_count"].copy(), arrays["tag_mean"].copy()
        moments._tag_c_xx = arrays["tag_c_xx"].copy()
        return moments

    # -- from stored samples

    @classmethod
    def from_samples(
        cls,
        samples: Samples,
        *,
        tags: Sequence[str] | None = None,
        keep: Collection[str] = (),
        tagger: str | None = None,
        target: Target = "binary",
        low: float = 0.01,
        high: float = 0.75,
        progress: Callable[[int, int], None] | None = None,
        cache: bool = True,
    ) -> Moments:
        """Moments of all labelled rows of a stored run, in one streaming pass.

        Rows without any label are left out. With fewer contents than folds, the seed decides the fold.

        Args:
            samples: the run.
            tags: tags to keep, whatever their share; None: see :func:`select_tags`.
            keep: tags that are exempt from the list of dropped ones, for ``tags=None``.
            tagger: id or name, as in :class:`Samples`; None is the first one.
            target: "binary": y is 1 where the score reaches the tagger's threshold; "score": y is the score.
            low, high: share of the rows that carry a tag, for ``tags=None``.
            progress: called with (rows done, rows in all).
            cache: read and write ``samples/moments/<key>.safetensors``; the key covers all that changes the answer.

        Raises:
            UnknownNameError: a named tag is not in the tagger's vocabulary.
            DamagedFileError: a shard does not fit the manifest, whether its rows are read or cached.
            LatentEditError: no tags are stored, none is left, or no row is labelled.
        """
        if target not in ("binary", "score"):
            raise UnknownNameError("target", str(target), ("binary", "score"))
        threshold, source = samples.threshold(tagger), samples.fingerprint(tagger)
        rows = samples.label_counts(tagger)
        kept = select_tags(samples.tag_counts(tagger), rows, tags=tags, keep=keep, low=low, high=high)
        key = hashlib.sha256(json.dumps([SCHEMA, FOLDS, source, kept, target, threshold]).encode()).hexdigest()
        path = samples.path / CACHE / f"{key[:24]}.safetensors"
        if cache and path.exists():
            samples.verify(tagger)  # the cache must not hide a damaged shard
            with suppress(DamagedFileError):  # then it is made again
                return cls.load(path)
        moments = cls(
            samples.dim, kept, generator_id=samples.generator_id, tagger_id=samples.tagger_id(tagger),
            layers=samples.manifest.layers, truncation=samples.manifest.truncation,
            threshold=threshold, target=target, sources=[source],
        )  # fmt: skip
        moments._stream(samples, tagger, progress)
        if cache:
            try:
                moments.save(path)
            except LatentEditError as error:
                warnings.warn(f"the moments are not kept for the next run: {error}", stacklevel=2)
        return moments

    def _stream(self, samples: Samples, tagger: str | None, progress: Callable[[int, int], None] | None) -> None:
        names = samples.tags(tagger)
        columns = [names.index(tag) for tag in self.tags]
        limits = samples.thresholds(tagger)[columns]  # (t,)
        contents = samples.manifest.contents
        by_seed = contents is not None and len(contents.pictures) < FOLDS
        done = 0
        for batch in samples.iter_batches(tagger):
            assert batch.scores is not None
            scores = batch.scores[:, columns]  # (n, t)
            known, present = np.isfinite(scores), scores >= limits
            labelled = known.any(1)
            targets = np.where(known, present if self.target == "binary" else scores, np.nan)
            if labelled.any():
                self.update(
                    batch.codes[labelled],
                    targets[labelled],
                    groups=(batch.seeds if by_seed else batch.groups)[labelled],
                    present=present[labelled],
                )
            done += len(batch.seeds)
            if progress:
                progress(done, samples.rows)
        if not self.count:
            raise LatentEditError(f"no row of {samples.path} is labelled; run `latentedit tag {samples.path}`")


def _array(values: Any, dtype: Any) -> NDArray[Any]:
    """A numpy array of a numpy array, list or torch tensor on any device."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=dtype)
