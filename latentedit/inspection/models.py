"""What a generator, a tagger or an editor, or a file that may hold one, is."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from latentedit.checkpoints.checkpoint import read_checkpoint
from latentedit.directions.bank import DirectionBank
from latentedit.editing.editors import editor_format, open_editor, taggers_of
from latentedit.errors import LatentEditError
from latentedit.generators import GENERATORS, Generator, load_generator
from latentedit.generators.base import picture_size
from latentedit.generators.family import Family, family_of, unrecognised
from latentedit.prior.prior import Prior
from latentedit.registry import build, parse_name, read_options, readings
from latentedit.taggers import TAGGERS, load_tagger
from latentedit.taggers.judge import FORMAT as JUDGE
from latentedit.tensorfile import header


@dataclass(frozen=True)
class GeneratorInfo:
    """A generator in numbers.

    Attributes:
        name: how commands take it, such as ``gnr:GNR_checkpoint.pt``.
        title: what its family is called; None when it is not read from a file of a known family.
        part: where in the file the network is, such as ``g_ema``.
        weights: which they are, where the file holds others beside them or lacks their average; else empty.
        container: how the file was written; empty when there is no file.
        id: of the weights.
        resolution: side of the pictures; the longer one of oblong ones.
        picture_size: their height and width.
        z_dim, dim: numbers of z and of a style code.
        labels: classes; 0 when there are none.
        layers: each slot's name, and resolution and style width where they are known.
        parameters: numbers in the file's network; None when unknown.
        memory: bytes that the weights take in float32.
        style_weights: rows of each weight that SeFa reads, by name.
        notes: what the file does not say and was assumed.
    """

    name: str
    title: str | None
    part: str
    weights: str
    container: str
    id: str
    resolution: int
    picture_size: tuple[int, int]
    z_dim: int
    dim: int
    labels: int
    layers: tuple[Mapping[str, Any], ...]
    parameters: int | None
    memory: int | None
    style_weights: Mapping[str, int]
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """As plain containers, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class TaggerInfo:
    """A tagger in numbers.

    Attributes:
        name: how commands take it, such as ``deepdanbooru:DIR``.
        id: of the weights, and of what else changes scores.
        tags: it knows, in order.
        threshold: score from which a tag counts as present.
        thresholds: of the tags whose threshold is another one.
        settings: how pictures are prepared, in words.
    """

    name: str
    id: str
    tags: tuple[str, ...]
    threshold: float
    thresholds: Mapping[str, float]
    settings: Mapping[str, str]

    def document(self) -> dict[str, Any]:
        """As plain containers, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class ReadTag:
    """How well a prior reads a tag of held-out samples off their codes.

    Attributes:
        tag: which.
        area: under the ROC curve; NaN where that is not known, as no held-out sample has the tag, or all have it.
        right: share on the right side of a half.
        read: False where that was too poor, and the tag is known only from samples.
    """

    tag: str
    area: float
    right: float
    read: bool

    @property
    def shown_area(self) -> str:
        """The area as tables show it."""
        return "not known" if math.isnan(self.area) else f"{self.area:.3f}"


@dataclass(frozen=True)
class EditorInfo:
    """A file of directions or a prior in numbers.

    Attributes:
        name: its path.
        holds: "directions" or "a prior".
        generator_id, generator_name: the only generator that it fits, and what that was loaded by, "" when unknown.
        taggers: ids of those it was fitted with.
        tags: in order.
        dim: numbers of a code.
        layers: names of the generator's slots; empty when unknown.
        size: bytes of the file.
        fitted: how it was made: finders, or the recipe of a prior; JSON values.
        loss: of a prior's last thousand steps; None for directions.
        reading: of a prior's tags, the worst first; empty for directions.
    """

    name: str
    holds: str
    generator_id: str
    generator_name: str
    taggers: tuple[str, ...]
    tags: tuple[str, ...]
    dim: int
    layers: tuple[str, ...]
    size: int
    fitted: Mapping[str, Any]
    loss: float | None = None
    reading: tuple[ReadTag, ...] = ()

    def document(self) -> dict[str, Any]:
        """As plain containers, for JSON."""
        return asdict(self)


def is_editor(name: str) -> bool:
    """Whether a name is the path of a file of directions or of a prior."""
    return os.path.isfile(name) and editor_format(name) is not None


def inspect_editor(path: str | Path) -> EditorInfo:
    """Read a file of directions or of a prior and describe it.

    Raises:
        DamagedFileError: it cannot be read.
    """
    editor = open_editor(path)
    holds, loss = "directions", None
    reading: tuple[ReadTag, ...] = ()
    if isinstance(editor, DirectionBank):
        fitted: dict[str, Any] = {"finders": sorted({d.finder for d in editor})}
    else:
        about = dict(editor.about)
        loss, reading, holds = about.get("loss"), _reading(editor), "a prior"
        fitted = {name: value for name, value in about.items() if name not in ("loss", "reading", "poor")}
    return EditorInfo(
        str(path), holds, editor.generator_id, editor.generator_name, tuple(sorted(taggers_of(editor))), editor.tags,
        editor.dim, tuple(editor.layers), Path(path).stat().st_size, fitted, loss, reading,
    )  # fmt: skip


def _reading(prior: Prior) -> tuple[ReadTag, ...]:
    told = prior.about.get("reading", {})
    area, right = told.get("area", {}), told.get("right", {})
    found = [
        ReadTag(tag, area.get(tag, math.nan), right.get(tag, math.nan), bool(known))
        for tag, known in zip(prior.tags, prior.reader.known.tolist(), strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (not math.isnan(one.area), one.area)))


def is_tagger(name: str) -> bool:
    """Whether a name is of a tagger and of no generator, as ``onnx:DIR`` is; ``avatar`` is of both.

    Raises:
        LatentEditError: it is ``torch:...`` and cannot be made.
    """
    kind, argument, options = parse_name(name)
    if kind == "torch":
        made = build("tagger", argument, options, own=("range",))
        return callable(made.get("score")) and not callable(made.get("decode"))
    if os.path.exists(name):
        return header(name).get("format") == JUDGE
    return kind in TAGGERS.names() and kind not in GENERATORS.names()


def inspect_tagger(name: str) -> TaggerInfo:
    """Load a tagger by name, or a judge by its bare path, and describe it.

    Raises:
        LatentEditError: it cannot be loaded.
    """
    if os.path.isfile(name):
        name = f"judge:{name}"
    tagger = load_tagger(name)
    return TaggerInfo(
        name, tagger.id, tuple(tagger.tags), float(tagger.threshold),
        dict(getattr(tagger, "thresholds", {})), dict(getattr(tagger, "settings", {})),
    )  # fmt: skip


def inspect_generator(name: str) -> GeneratorInfo:
    """Load a generator by name, or by a bare path whose family is found out, and describe it.

    Raises:
        LatentEditError: it cannot be loaded; for a file, what it seems to be and what is needed.
    """
    kind, argument, options = parse_name(name)
    if os.path.isdir(name) and (found_kind := _tagger_folder(Path(name))) is not None:
        raise LatentEditError(f"{name} is a folder of a tagger, not of a generator: write {found_kind}:{name}")
    if os.path.exists(name) or kind not in GENERATORS.names():
        path, query = next((one for one in readings(name) if os.path.exists(one[0])), name.partition("?")[::2])
        checkpoint, options = read_checkpoint(path), read_options(query)
        family = family_of(checkpoint)
        if family is None:
            raise LatentEditError(f"{checkpoint.path}: {unrecognised(checkpoint)}")
        family.check_options(options)
        name = f"{family.kind}:{name}"
    else:
        thing = GENERATORS.get(kind)
        if not isinstance(thing, Family):
            return _describe(name, load_generator(name), None, "", "")
        family, checkpoint = thing, read_checkpoint(argument or _no_file(kind))
        family.check_options(options)
    generator = family.load(checkpoint, options, device=torch.device("cpu"), dtype=torch.float32)
    chosen = family.find(checkpoint)
    return _describe(
        name,
        generator,
        generator.network.title or family.title,
        chosen.found.part if chosen else "",
        checkpoint.container,
    )


def _tagger_folder(path: Path) -> str | None:
    """Kind of the tagger that a folder holds, by the names of its files."""
    marks = {
        "deepdanbooru": ("project.json",),
        "onnx": ("model.onnx", "selected_tags.csv"),
        "clip": ("config.json", "preprocessor_config.json"),
    }
    return next((kind for kind, names in marks.items() if all((path / name).is_file() for name in names)), None)


def _no_file(kind: str) -> str:
    raise LatentEditError(f"{kind} needs a file, as in {kind}:PATH")


def _describe(name: str, generator: Generator, title: str | None, part: str, container: str) -> GeneratorInfo:
    slots = getattr(generator, "slots", None)
    layers: list[dict[str, Any]] = [{"name": layer} for layer in generator.layers]
    if slots is not None:
        layers = [slot._asdict() for slot in slots]
    parameters = getattr(generator, "parameters", None)
    try:
        weights = {layer: len(w) for layer, w in generator.style_weights().items()}
    except LatentEditError:
        weights = {}
    return GeneratorInfo(
        name=name, title=title, part=part, weights=getattr(generator, "weights", ""),
        container=container, id=generator.id, resolution=generator.resolution,
        picture_size=picture_size(generator),
        z_dim=generator.z_dim, dim=generator.dim, labels=getattr(generator, "labels", 0), layers=tuple(layers),
        parameters=parameters, memory=None if parameters is None else parameters * 4, style_weights=weights,
        notes=tuple(getattr(generator, "notes", ())),
    )  # fmt: skip
