"""A study as data: what is edited, by which methods, how far, and what is measured.

A small TOML file; ``data/study.toml`` is the 2022 study's and shows every key. :mod:`latentedit.study.run` runs one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from latentedit.directions.direction import UNITS
from latentedit.directions.edits import Edit
from latentedit.errors import LatentEditError, UnknownNameError
from latentedit.files import home_of, read_toml
from latentedit.pictures.images import list_pictures
from latentedit.shipped import shipped

SCHEMA = 1
METRICS = ("rescoring", "natural", "curves", "dependency", "dci", "fid", "dfid", "lpips")
Published = float | Mapping[str, Any]


@dataclass(frozen=True)
class StudyEdit:
    """A detail that is edited: towards one tag and, if named, away from another."""

    name: str
    positive: str
    negative: str | None = None


@dataclass(frozen=True)
class Method:
    """A finder, or an editor's file, and how far it is followed.

    Attributes:
        name: as tables show it.
        finder: as ``fit-directions --finder`` takes it; what the file is called, where it is a file.
        strength: of the positive tag, in ``unit``.
        opposite: of the negative tag; not used by edits without one.
        unit: sigma, latent or raw, as :mod:`latentedit.directions.direction` defines them.
        metrics: measured of it; None for all that the study measures.
        file: of directions or a prior, which are measured as they are; None: the finder's are fitted.
    """

    name: str
    finder: str
    strength: float = 3.0
    opposite: float = -1.0
    unit: str = "sigma"
    metrics: tuple[str, ...] | None = None
    file: Path | None = None

    def edit(self, edit: StudyEdit, *, opposing: bool = True) -> Edit:
        """The edit as far as this method does it, with or without its opposing tag."""
        if edit.negative is None or not opposing or not self.opposite:
            return Edit(edit.positive, self.strength, opposite=None, unit=self.unit)
        ratio = self.opposite / self.strength
        return Edit(edit.positive, self.strength, opposite=edit.negative, ratio=ratio, unit=self.unit)


@dataclass(frozen=True)
class Sizes:
    """How much is drawn and measured."""

    samples: int = 3000
    styles_per_content: int = 3
    rescoring_pictures: int = 200
    natural_pictures: int = 2000
    curve_pictures: int = 100
    curve_strengths: tuple[float, ...] = (0, 1, 2, 3, 4, 5)
    fid_pictures: int = 100
    dfid_pictures: int = 10
    dfid_augmentations: int = 40
    lpips_pictures: int = 12
    lpips_styles: int = 10
    n_boot: int = 1000


@dataclass(frozen=True)
class Protocol:
    """A study; see ``data/study.toml``.

    Attributes:
        tagger, judge: names; "" for what ships for the generator, and of the judge else the tagger.
        train, test, target: folders of pictures: content of the samples, content of what is measured, the real
            pictures that Fréchet distances compare with. Without the first two the generator's own content is used.
        low, high: shares of the samples between which a tag is fitted that no edit names.
        published: metric → method → the number, or edit → the number, that a publication printed.
    """

    title: str
    generator: str
    tagger: str
    judge: str
    edits: tuple[StudyEdit, ...]
    methods: tuple[Method, ...]
    sizes: Sizes
    features: str = "efficientnet-lite0"
    perceptual: str = "efficientnet-lite0"
    metrics: tuple[str, ...] = METRICS
    seed: int = 1_000_000
    train: Path | None = None
    test: Path | None = None
    target: Path | None = None
    low: float = 0.01
    high: float = 0.75
    published: Mapping[str, Mapping[str, Published]] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        for noun, things in (("edit", self.edits), ("method", self.methods)):
            names = [thing.name for thing in things]
            if not names:
                raise LatentEditError(f"a study needs at least one [[{noun}]]")
            if len(set(names)) < len(names):
                raise LatentEditError(f"two [[{noun}]] have the same name among {', '.join(names)}; names must differ")
        if "fid" in self.metrics or "dfid" in self.metrics:
            if self.target is None:
                raise LatentEditError(
                    "fid and dfid compare with real pictures; name their folder as target in [pictures]"
                )
        if "natural" in self.metrics and "rescoring" not in self.metrics:
            raise LatentEditError("natural is seen while edits are re-scored; add rescoring to metrics")
        if self.seed < self.sizes.samples:
            raise LatentEditError(
                f"seed {self.seed} is one of the {self.sizes.samples} samples' that directions are fitted on; "
                "measure from a larger seed on"
            )

    def methods_of(self, metric: str) -> tuple[Method, ...]:
        """The methods that a metric is measured of; none when the study does not measure it."""
        if metric not in self.metrics:
            return ()
        return tuple(m for m in self.methods if m.metrics is None or metric in m.metrics)

    def changed(
        self,
        *,
        generator: str | None = None,
        tagger: str | None = None,
        judge: str | None = None,
        features: str | None = None,
        perceptual: str | None = None,
        metrics: Sequence[str] | None = None,
    ) -> Protocol:
        """The same with other parts; None leaves one as it is, but another generator brings its own tagger and judge.

        Raises:
            UnknownNameError: no such metric.
        """
        for metric in metrics or ():
            if metric not in METRICS:
                raise UnknownNameError("metric", metric, METRICS)
        parts = {"generator": generator, "tagger": tagger, "judge": judge, "features": features}
        given: dict[str, Any] = {k: v for k, v in (parts | {"perceptual": perceptual}).items() if v is not None}
        if generator is not None and generator != self.generator:
            given = {"tagger": "", "judge": ""} | given
        if metrics is not None:
            given["metrics"] = tuple(metrics)
        return replace(self, **given)

    def with_pictures(self, folder: str | Path) -> Protocol:
        """The same with the pictures of a folder in the layout of selfie2anime."""
        found: dict[str, Any] = {**_selfie2anime(Path(folder))}
        return replace(self, **found)


def read_protocol(path: str | Path | None = None, *, full: bool = False) -> Protocol:
    """The study that a TOML file describes; the shipped one when None.

    Args:
        path: of the file. Folders in it are relative to its own.
        full: the sizes of [full] rather than of [sizes].

    Raises:
        DamagedFileError: missing or not TOML.
        LatentEditError: an unknown or missing key, a value of another kind, a study that contradicts itself.
    """
    path = shipped("data/study.toml") if path is None else Path(path)
    content = read_toml(path)
    try:
        return _protocol(_Table(content, "the study"), path.parent, full)
    except LatentEditError as error:
        raise LatentEditError(f"{path}: {error}") from error


class _Table:
    """A table of the file; every key that is not taken is unknown."""

    def __init__(self, content: Any, what: str) -> None:
        if not isinstance(content, dict):
            raise LatentEditError(f"{what} is {content!r}; it must be a table")
        self.content, self.what, self.known = content, what, set[str]()

    def take(self, key: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        """The value of a key, checked."""
        self.known.add(key)
        if key not in self.content:
            if default is ...:
                raise LatentEditError(f"{self.what} has no {key!r}; it must say it")
            return default
        value = self.content[key]
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            wanted = {str: "text in quotes", int: "a whole number", float: "a number", list: "a list", dict: "a table"}
            raise LatentEditError(f"{key} of {self.what} is {value!r}; it must be {wanted[kinds[0]]}")
        return value

    def number(self, key: str, default: float) -> float:
        return float(self.take(key, (float, int), default))

    def words(self, key: str, allowed: Sequence[str], default: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """A list of known words."""
        words = self.take(key, list, default)
        for word in words or ():
            if word not in allowed:
                raise UnknownNameError(f"entry of {key} of {self.what}", str(word), allowed)
        return None if words is None else tuple(words)

    def end(self) -> None:
        for key in self.content:
            if key not in self.known:
                raise UnknownNameError(f"key of {self.what}", key, self.known)


def _protocol(top: _Table, folder: Path, full: bool) -> Protocol:
    schema = top.take("schema", int, SCHEMA)
    if schema > SCHEMA:
        raise LatentEditError(f"schema {schema}; this latentedit reads up to {SCHEMA}; install a newer one")
    sizes = _sizes(_Table(top.take("sizes", dict, {}), "[sizes]"), Sizes())
    larger = _sizes(_Table(top.take("full", dict, {}), "[full]"), sizes)
    tags = _Table(top.take("tags", dict, {}), "[tags]")
    published = dict(top.take("published", dict, {}))
    protocol = Protocol(
        title=top.take("title", str, "A study"), generator=top.take("generator", str),
        tagger=top.take("tagger", str, ""), judge=top.take("judge", str, ""),
        features=top.take("features", str, Protocol.features),
        perceptual=top.take("perceptual", str, Protocol.perceptual),
        metrics=top.words("metrics", METRICS, METRICS) or (), seed=top.take("seed", int, Protocol.seed),
        edits=tuple(_edit(_Table(e, "an [[edit]]")) for e in top.take("edit", list, [])),
        methods=tuple(_method(_Table(m, "a [[method]]"), folder) for m in top.take("method", list, [])),
        sizes=larger if full else sizes,
        low=tags.number("low", Protocol.low), high=tags.number("high", Protocol.high),
        source=str(published.pop("source", "")), published=published,
        **_pictures(_Table(top.take("pictures", dict, {}), "[pictures]"), folder),
    )  # fmt: skip
    tags.end()
    top.end()
    for metric in published:
        if metric not in METRICS:
            raise UnknownNameError("metric of [published]", metric, METRICS)
    return protocol


def _edit(table: _Table) -> StudyEdit:
    positive = table.take("positive", str)
    edit = StudyEdit(table.take("name", str, positive), positive, table.take("negative", str, None))
    table.end()
    return edit


def _method(table: _Table, folder: Path) -> Method:
    file = table.take("file", str, None)
    if file is not None and "finder" in table.content:
        finder = table.content["finder"]
        raise LatentEditError(f"{table.what} names the finder {finder!r} and the file {file!r}; name one of the two")
    finder = table.take("finder", str) if file is None else file
    method = Method(
        name=table.take("name", str, finder), finder=finder, file=None if file is None else _path(file, folder),
        strength=table.number("strength", Method.strength),
        opposite=table.number("opposite", Method.opposite), unit=table.take("unit", str, Method.unit),
        metrics=table.words("metrics", METRICS, None),
    )  # fmt: skip
    table.end()
    if method.unit not in UNITS:
        raise UnknownNameError("unit", method.unit, UNITS)
    if not method.strength:
        raise LatentEditError(f"the strength of {method.name!r} is 0, which edits nothing")
    return method


def _sizes(table: _Table, default: Sizes) -> Sizes:
    strengths = table.take("curve_strengths", list, default.curve_strengths)
    if not all(isinstance(s, (int, float)) for s in strengths) or len(strengths) < 2:
        raise LatentEditError(f"curve_strengths of {table.what} is {strengths!r}; give two numbers or more")
    values: dict[str, Any] = {"curve_strengths": tuple(float(s) for s in strengths)}
    for one in fields(Sizes):
        if one.name != "curve_strengths":
            values[one.name] = table.take(one.name, int, getattr(default, one.name))
            least = (
                1 if one.name in ("samples", "styles_per_content", "n_boot", "dfid_pictures", "lpips_pictures") else 2
            )
            if values[one.name] < least:
                raise LatentEditError(f"{one.name} of {table.what} is {values[one.name]}; it must be {least} or more")
    table.end()
    return Sizes(**values)


def _pictures(table: _Table, folder: Path) -> dict[str, Path]:
    if (whole := table.take("folder", str, None)) is not None:
        table.end()
        return _selfie2anime(folder / home_of(whole))
    found = {}
    for name in ("train", "test", "target"):
        if (text := table.take(name, str, None)) is not None:
            found[name] = _path(text, folder)
    table.end()
    return found


def _path(text: str, folder: Path) -> Path:
    return shipped(text.removeprefix("shipped:")) if text.startswith("shipped:") else folder / home_of(text)


def _selfie2anime(folder: Path) -> dict[str, Path]:
    """Folders of the layout that selfie2anime and most unpaired translation sets have."""
    if not folder.is_dir():
        came = "is not a folder" if folder.exists() else "there is no such folder"
        raise LatentEditError(f"{str(folder)!r}: {came}; name one that has trainA, testA and testB")
    found = {"train": folder / "trainA", "test": folder / "testA", "target": folder / "testB"}
    for place in found.values():
        list_pictures(place)  # or it says what is missing
    return found
