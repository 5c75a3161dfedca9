"""``evaluate``: the metrics, one by one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli.asking import EditCommand
from latentedit.cli.common import Context, Ordered, OutFile, Place, cli, common, how_many
from latentedit.cli.drawing import check_place
from latentedit.cli.editing import AskedEditor, AskedEdits, Command, edit_options, editor_options
from latentedit.cli.judging import judge_option, load_judge
from latentedit.cli.natural import DEFAULT, draw_for, natural_option
from latentedit.cli.terminal import table
from latentedit.errors import LatentEditError

if TYPE_CHECKING:
    from latentedit.directions.edits import Edit
    from latentedit.directions.pairs import TagRelations
    from latentedit.editing.editors import OwnEditor
    from latentedit.editing.faces import Faces, PreparedFaces
    from latentedit.generators import Generator
    from latentedit.metrics.edited_pictures import Move
    from latentedit.samples.contents import Contents

FEATURES_HELP = "efficientnet-lite0, inception:FILE, torch:package.module:factory"
PERCEPTUAL_HELP = "efficientnet-lite0, alex:FILE, vgg:FILE, squeeze:FILE"


class Measures(Ordered):
    """A group of commands that take edits."""

    command_class = EditCommand


@cli.group(cls=Measures)
def evaluate() -> None:
    """Measure edits: did the target move, did anything else, are the pictures still good?

    \b
    latentedit evaluate rescoring            how every tag's score moves under each edit
    latentedit evaluate curves               what edits do as their strength grows: how good a slider each is
    latentedit evaluate axioms               no jumps, no drift, there and back, no further than it takes
    latentedit evaluate fid --tag long_hair  Fréchet distance to real pictures, before and after
    latentedit evaluate study                the 2022 study's chapter, with intervals, as a report
    """


@dataclass
class Subject:
    """What a metric is measured on."""

    generator: Generator
    editor: OwnEditor
    where: str
    contents: Contents | None
    faces: Faces
    edits: list[Edit]
    relations: TagRelations

    @property
    def seeds(self) -> range:
        """Of the faces."""
        assert isinstance(self.faces.seeds, range)
        return self.faces.seeds

    @property
    def moves(self) -> dict[str, Move]:
        """What each edit does to codes, by its text."""
        from latentedit.metrics.scoring import along

        return {str(one): along(self.editor, one, self.relations) for one in self.edits}

    def prepared(self, context: Context) -> PreparedFaces:
        """The faces, ready to be decoded."""
        return self.faces.prepare(self.generator, batch_size=context.batch_size)


@dataclass(frozen=True)
class AskedSubject:
    """The options of :func:`subject_options`, as they were typed."""

    edits: AskedEdits
    editor: AskedEditor
    folder: Path | None
    seeds: range

    def load(self, context: Context, *, default: Iterable[str] | None = ()) -> Subject:
        """Load what they name; ``default`` are the tags where none is named, all of the editor's when None."""
        from latentedit import Faces
        from latentedit.editing.editors import kind_of
        from latentedit.samples.contents import Contents

        opened = self.editor.load(context)
        generator, editor, where = opened.generator, opened.editor, opened.where
        context.say(f"edited by: {kind_of(editor)}, {where}")
        folder = self.folder or getattr(generator, "default_test_contents", None)
        contents = None if folder is None else Contents.find(generator, folder).readable(len(self.seeds))
        say_few(context, len(self.seeds), len(contents) if contents else 0)
        edits = opened.edits(self.edits, context, default=editor.tags if default is None else default)
        faces = Faces(seeds=self.seeds, content=contents)
        subject = Subject(generator, editor, where, contents, faces, edits, self.edits.relations)
        codes = generator.sample_codes([self.seeds[0]])
        for move in subject.moves.values():
            move(codes)  # an unknown tag, layer or unit is found before the work
        return subject


def say_few(context: Context, pictures: int, contents: int) -> None:
    """Say that intervals over so few pictures, or contents that they take in turn, tell little."""
    from latentedit.metrics.intervals import few_pictures_note

    if note := few_pictures_note(pictures, contents if 1 < contents < pictures else None):
        context.say(note)


def subject_options(n: int) -> Callable[[Command], Command]:
    """The options that say what is edited, by what, and on which pictures, handed over as ``subject``."""

    def decorate(command: Command) -> Command:
        @edit_options
        @editor_options
        @click.option(
            "--contents",
            type=Place(),
            help="folder of content pictures, or one  [default: the generator's own test pictures]",
        )
        @click.option(
            "--seed", type=click.IntRange(0), default=1_000_000, show_default=True, help="of the first picture"
        )
        @how_many(n, "pictures")
        @functools.wraps(command)
        def wrapper(
            *given: Any, asked: AskedEdits, editor: AskedEditor, contents: Path | None, seed: int, n: int,
            **rest: Any,
        ) -> Any:  # fmt: skip
            return command(*given, subject=AskedSubject(asked, editor, contents, range(seed, seed + n)), **rest)

        return wrapper

    return decorate


def _target_of(generator: Generator, target: Path | None) -> Path:
    found = target or getattr(generator, "default_targets", None)
    if found is None:
        raise LatentEditError(f"{generator.id} brings no real pictures along; name a folder of them with --target")
    return Path(found)


def provenance_of(subject: Subject, **more: Any) -> dict[str, Any]:
    """What the numbers of a subject depend on; JSON values."""
    from latentedit import __version__
    from latentedit.editing.editor import explicit_for
    from latentedit.editing.editors import kind_of

    return {
        "generator": subject.generator.id, "editor": kind_of(subject.editor), "file": subject.where,
        "first_seed": subject.seeds[0], "pictures": len(subject.seeds),
        "contents": None if subject.contents is None else len(subject.contents),
        "edits": [str(explicit_for(subject.editor, one, subject.relations)) for one in subject.edits],
        "latentedit": __version__, **more,
    }  # fmt: skip


@evaluate.command()
@common
@subject_options(200)
@judge_option
@natural_option
@click.option("--out", type=OutFile(".png"), help="also draw the matrix, as this picture")
@click.option("--force", is_flag=True, help="overwrite OUT")
def rescoring(
    context: Context, subject: AskedSubject, judge: str | None, natural: int | None, out: Path | None, force: bool
) -> None:
    """How much every tag's score moves when one tag is edited, with intervals; how natural the pictures are beside the
    generator's own with that tag; how much changes elsewhere."""
    import numpy as np

    from latentedit import rescore
    from latentedit.pictures.writing import write_picture
    from latentedit.study.columns import cell, look_cells, look_header, networks_of

    if out:
        check_place(out, force)
    s = subject.load(context, default=None)
    relations = s.relations
    judged = load_judge(context, s.generator, {Path(s.where): s.editor}, judge)
    tagger = judged.tagger
    if natural is None:  # of all tags that directions know it would take longer than all else
        natural = DEFAULT if subject.edits.texts else 0
    own, missing = draw_for(
        context, s.generator, tagger, [one.tag for one in s.edits], s.faces, natural=natural,
        edited=len(s.seeds) * (1 + len(s.edits)),
    )  # fmt: skip
    r = rescore(
        s.generator, tagger, s.editor, s.edits, s.faces, batch_size=context.batch_size, own=own, relations=relations,
        progress=context.progress("re-score"),
    )  # fmt: skip
    rows, summaries, least = [], {}, {}
    networks = networks_of([r])
    for i, (tag, label) in enumerate(zip(r.targets, r.labels, strict=True)):
        if tag not in r.tags:
            rows.append([label, "", "not measured by this judge", *[""] * (3 + len(look_header(networks)))])
            continue
        one = summaries[label] = r.summary(i, among="lacking", relations=relations)
        if one.note and len(r.before) > one.pictures:  # else it is said of all
            context.say(f"{label}: {one.note}")
        change = {other: abs(float(r.mean[i, r.tags.index(other)])) for other in r.others(i, relations=relations)}
        worst = max(change, key=change.__getitem__, default="")
        moved = f"{worst} {r.mean[i, r.tags.index(worst)]:+.2f}" if worst else ""
        lacking = np.flatnonzero(r.rows(i))
        least[label] = {n: [s.seeds[int(lacking[j])] for j in found.worst()] for n, found in r.natural(i).items()}
        rise = [format(one.target, ".2f"), cell(one.ceiling, 2)]
        rows.append([label, str(one.pictures), *rise, format(one.off_target, ".3f"), moved, *look_cells(one, networks)])
    document = {
        "judge": tagger.id, "judge_name": judged.name, "tags": r.tags, "edits": r.labels,
        "mean": r.mean, "low": r.low, "high": r.high,
        "among_lacking": summaries, "least_natural_seeds": least, "judge_fitted_directions": judged.fitted,
        "naturalness_note": missing, "own_pictures": None if own is None else own.provenance,
        "provenance": provenance_of(s),
    }  # fmt: skip
    if out:
        from latentedit.study.report import matrix_picture

        write_picture(out, matrix_picture(r))
        context.say(f"wrote {out}")
    header = ["edit", "lack it", "target rises by", "ceiling", "others change by", "worst other, over all"]
    context.result(document, "\n".join(filter(None, [table([*header, *look_header(networks)], rows), missing])))


@evaluate.command()
@common
@click.argument("pictures", type=Place(), required=False)
@subject_options(100)
@click.option("--target", type=Place(), help="folder of real pictures  [default: the generator's own]")
@click.option("--features", default="efficientnet-lite0", show_default=True, help=FEATURES_HELP)
def fid(context: Context, subject: AskedSubject, pictures: Path | None, target: Path | None, features: str) -> None:
    """Fréchet distance to real pictures: of the folder PICTURES, else of random pictures before and after each edit.

    It is called FID over inception:FILE alone; over another network it has that network's name and does not compare
    with published figures.
    """
    from latentedit.generators.base import picture_size
    from latentedit.metrics.edited_pictures import features_of_moves, features_of_pictures
    from latentedit.metrics.features import load_features
    from latentedit.metrics.features.base import metric_name
    from latentedit.metrics.frechet_distance import fid_difference, fid_interval, small_sample_note
    from latentedit.pictures.folder import PictureFolder

    network = load_features(features, device=context.device)
    if pictures is not None:
        if target is None:
            raise click.UsageError("PICTURES are compared with those of --target FOLDER; name it")
        found = {str(pictures): features_of_pictures(network, PictureFolder(pictures, None))}
        real, groups = PictureFolder(target, None), None
        provenance = {"pictures": str(pictures), "count": len(found[str(pictures)])}
    else:
        s = subject.load(context)
        real = PictureFolder(_target_of(s.generator, target), picture_size(s.generator))
        prepared = s.prepared(context)
        groups = prepared.content_groups
        found, _ = features_of_moves(prepared, network, s.moves, progress=context.progress("decode"))
        provenance = provenance_of(s)
    targets = features_of_pictures(network, real, progress=context.progress("real pictures"))
    name, rows, numbers = metric_name("FID", network), [], {}
    first, *rest = found
    for key in (first, *rest):
        value = fid_interval(found[key], targets, groups=groups)
        difference = None if key == first else fid_difference(found[key], found[first], targets, groups=groups)
        numbers[key] = {"estimate": value, "difference": difference}
        rows.append([key, format(value, ".2f"), "" if difference is None else format(difference, "+.2f")])
    note = small_sample_note(min(len(targets), len(found[first])), network.dim)
    if note:
        context.say(note)
    header = ("pictures", name, f"minus {first}") if rest else ("pictures", name)
    context.result(
        {"metric": name, "network": network.id, "numbers": numbers, "note": note, "targets": len(targets),
         "provenance": provenance},
        table(header, [row[: len(header)] for row in rows]),
    )  # fmt: skip


@evaluate.command()
@common
@subject_options(10)
@click.option("--target", type=Place(), help="folder of real pictures  [default: the generator's own]")
@click.option("--augmentations", type=click.IntRange(2), default=100, show_default=True, help="copies of each picture")
@click.option("--features", default="efficientnet-lite0", show_default=True, help=FEATURES_HELP)
def dfid(context: Context, subject: AskedSubject, target: Path | None, augmentations: int, features: str) -> None:
    """Domain Fréchet distance: many copies of one content picture, each in its own random style.

    -n is the number of content pictures; the 2022 study took 100 with --augmentations 1000.
    """
    from latentedit.generators.base import picture_size
    from latentedit.metrics.domain_frechet import dfid as measure
    from latentedit.metrics.edited_pictures import ORIGINAL, features_of_pictures
    from latentedit.metrics.features import load_features
    from latentedit.metrics.features.base import metric_name
    from latentedit.metrics.frechet_distance import FrechetStatistics, small_sample_note
    from latentedit.pictures.folder import PictureFolder

    network, s = load_features(features, device=context.device), subject.load(context)
    folder = subject.folder or getattr(s.generator, "default_test_contents", None)
    if folder is None or s.contents is None:
        raise LatentEditError(f"{s.generator.id} needs content pictures here; name their folder with --contents")
    real = PictureFolder(_target_of(s.generator, target), picture_size(s.generator))
    statistics = FrechetStatistics()
    statistics.update(features_of_pictures(network, real, progress=context.progress("real pictures")))
    sources = PictureFolder(folder, picture_size(s.generator))
    pictures = [sources[i] for i in sources.readable(len(s.seeds))]
    result = measure(
        s.generator, network, pictures, statistics,
        moves={ORIGINAL: lambda codes: codes} | s.moves, augmentations=augmentations, seed=s.seeds[0],
        batch_size=context.batch_size, progress=context.progress("DFID"),
    )  # fmt: skip
    name, numbers, rows = metric_name("DFID", network), {}, []
    for key in (ORIGINAL, *s.moves):
        value = result.means[key]
        difference = None if key == ORIGINAL else result.difference(key, ORIGINAL)
        numbers[key] = {"estimate": value, "difference": difference}
        rows.append([key, format(value, ".2f"), "" if difference is None else format(difference, "+.2f")])
    note = small_sample_note(min(statistics.count, augmentations), network.dim)
    if note:
        context.say(note)
    context.result(
        {"metric": name, "network": network.id, "numbers": numbers, "augmentations": augmentations, "note": note,
         "source_pictures": len(pictures), "targets": statistics.count,
         "provenance": provenance_of(s)},
        table(("pictures", name, f"minus {ORIGINAL}"), rows),
    )  # fmt: skip


@evaluate.command()
@common
@click.argument("first", type=Place(), required=False)
@click.argument("second", type=Place(), required=False)
@subject_options(20)
@click.option("--styles", type=click.IntRange(2), default=10, show_default=True, help="random styles of each content")
@click.option("--network", default="efficientnet-lite0", show_default=True, help=PERCEPTUAL_HELP)
def lpips(
    context: Context, subject: AskedSubject, first: Path | None, second: Path | None, styles: int, network: str
) -> None:
    """Perceptual distance: between the pictures of two folders, FIRST and SECOND, in the order of their names;
    else between --styles random styles of each content (diversity) and between a picture and its edit (disturbance).

    It is called LPIPS over alex:, vgg: and squeeze:FILE alone.
    """
    from latentedit.metrics.features import load_features
    from latentedit.metrics.features.base import metric_name
    from latentedit.metrics.intervals import estimate, in_turn

    loaded = load_features(network, device=context.device)
    name = metric_name("LPIPS", loaded)
    if first is not None:
        if second is None:
            raise click.UsageError("FIRST is compared with SECOND; name both folders")
        apart = _folders_apart(first, second, loaded)
        value = estimate(apart)
        context.result(
            {"metric": name, "network": loaded.id, "distances": apart, "mean": value},
            table(("pictures", name), [[f"{len(apart)} pairs", format(value, ".3f")]]),
        )
        return
    from latentedit.metrics.edited_pictures import ORIGINAL, diversity_of_moves, features_of_moves

    s = subject.load(context)
    diverse = diversity_of_moves(
        s.generator, loaded, s.moves, len(s.seeds), styles=styles, seed=s.seeds[0], contents=s.contents,
        progress=context.progress("styles"),
    )  # fmt: skip
    prepared = s.prepared(context)
    shared, contents = prepared.content_groups, in_turn(len(s.seeds), len(s.contents) if s.contents else 0)
    _, apart_of = features_of_moves(prepared, None, s.moves, perceptual=loaded, progress=context.progress("edits"))
    rows, numbers = [], {}
    for key, values in diverse.items():
        diversity = estimate(values, groups=contents)
        change = None if key == ORIGINAL else estimate(values - diverse[ORIGINAL], groups=contents)
        moved = estimate(apart_of[key], groups=shared) if key in apart_of else None
        numbers[key] = {"diversity": diversity, "difference": change, "disturbance": moved}
        cells = [
            format(diversity, ".3f"),
            *("" if e is None else format(e, f) for e, f in ((change, "+.3f"), (moved, ".3f"))),
        ]
        rows.append([key, *cells])
    header = ("pictures", f"diversity ({name})", f"minus {ORIGINAL}", "from picture to edit")
    context.result(
        {"metric": name, "network": loaded.id, "numbers": numbers, "styles": styles,
         "provenance": provenance_of(s)},
        table(header, rows),
    )  # fmt: skip


def _folders_apart(first: Path, second: Path, network: Any) -> Any:
    """Perceptual distance (n,) of the pictures of two folders, pair by pair."""
    import numpy as np

    from latentedit.metrics.perceptual import lpips as distance
    from latentedit.pictures.folder import PictureFolder

    a, b = PictureFolder(first, None), PictureFolder(second, None)
    if len(a) != len(b):
        raise LatentEditError(f"{first} has {len(a)} pictures and {second} has {len(b)}; pairs need as many in both")
    found = []
    for i in range(len(a)):
        x, y = a.get(i), b.get(i)
        if x is not None and y is not None:  # else that pair is left out
            found.append(float(distance(x[None], y[None], network=network)))
    for folder in (a, b):
        folder.tell()
    if not found:
        raise LatentEditError(f"{first} and {second}: no pair of pictures can be read")
    return np.array(found)
