"""``evaluate``: the metrics one by one, and a whole study."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli.common import Context, cli, common, recorded_generator, refuse_existing
from latentedit.cli.terminal import Progress, table
from latentedit.errors import LatentEditError

if TYPE_CHECKING:
    from latentedit.directions.bank import DirectionBank
    from latentedit.generators import Generator
    from latentedit.metrics.edited_pictures import Move
    from latentedit.samples.contents import Contents

FEATURES_HELP = "efficientnet-lite0, inception:FILE, torch:package.module:factory"
PERCEPTUAL_HELP = "efficientnet-lite0, alex:FILE, vgg:FILE, squeeze:FILE"


@cli.group()
def evaluate() -> None:
    """Measure edits: did the target move, did anything else, are the pictures still good?

    \b
    latentedit evaluate rescoring            how every tag's score moves under each edit
    latentedit evaluate fid --tag long_hair  Fréchet distance to real pictures, before and after
    latentedit evaluate study                the 2022 study's chapter, with intervals, as a report
    """


@dataclass
class Subject:
    """What a metric is measured on."""

    generator: Generator
    bank: DirectionBank
    contents: Contents | None
    seeds: range
    moves: dict[str, Move]
    judged: list[str]


def edited(count: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that say what is edited and on which pictures, handed over as one function that makes a Subject."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def wrapper(
            context: Context, tags: tuple[str, ...], directions: Path | None, generator: str | None,
            strength: float | None, opposite: str | None, no_opposite: bool, pairs: Path | None, layers: str | None,
            raw: bool, contents: Path | None, seed: int, count: int, allow_other_generator: bool, **rest: Any,
        ) -> Any:  # fmt: skip
            if opposite and no_opposite:
                raise click.UsageError("--opposite and --no-opposite exclude each other")
            options = EditOptions(
                tags, directions, generator, strength, None if no_opposite else opposite or "auto", pairs, layers,
                "raw" if raw else "sigma", contents, range(seed, seed + count), allow_other_generator,
            )  # fmt: skip
            return command(context, options, **rest)

        options = [
            click.option("--tag", "tags", multiple=True, help="what is added; repeat it for several"),
            click.option(
                "--directions",
                type=click.Path(path_type=Path),
                help="file of fit-directions  [default: the shipped ones]",
            ),
            click.option("--generator", help="[default: the one that the directions name, else avatar]"),
            click.option("--strength", type=float, help="in σ  [default: 3]"),
            click.option("--opposite", metavar="TAG[:RATIO]", help="tag to take away  [default: the usual opposite]"),
            click.option("--no-opposite", is_flag=True, help="move along the tag's direction alone"),
            click.option(
                "--pairs",
                type=click.Path(path_type=Path),
                help="your own opposites, in the form of directions/pairs.toml",
            ),
            click.option("--layers", help="slots to move, as in 0-3,5  [default: all]"),
            click.option("--raw", is_flag=True, help="strength in the regression's own coefficients"),
            click.option(
                "--contents",
                type=click.Path(path_type=Path),
                help="folder of content pictures, or one  [default: the generator's own test pictures]",
            ),
            click.option(
                "--seed", type=click.IntRange(0), default=1_000_000, show_default=True, help="of the first picture"
            ),
            click.option("--count", type=click.IntRange(1), default=count, show_default=True, help="pictures"),
            click.option("--allow-other-generator", is_flag=True, help="use directions of another generator"),
        ]
        for option in reversed(options):
            wrapper = option(wrapper)
        return wrapper

    return decorate


@dataclass
class EditOptions:
    """The options of :func:`edited`, as they were typed."""

    tags: tuple[str, ...]
    directions: Path | None
    generator: str | None
    strength: float | None
    opposite: str | None
    pairs: Path | None
    layers: str | None
    unit: str
    contents: Path | None
    seeds: range
    allow_other_generator: bool

    def subject(self, context: Context, tags: tuple[str, ...] | None = None) -> Subject:
        """Load what they name; ``tags`` when the user names none."""
        from latentedit import DirectionBank, load_generator
        from latentedit.directions.pairs import TagKnowledge
        from latentedit.metrics.scoring import along
        from latentedit.samples.contents import Contents

        bank = DirectionBank.load(self.directions) if self.directions else None
        named = (
            recorded_generator(self.generator, bank.generator_name, self.directions)
            if bank and self.directions
            else self.generator
        )
        generator = load_generator(named or "avatar", device=context.device)
        if bank is None:
            bank = DirectionBank.load_default(generator)
        elif not self.allow_other_generator:
            bank.check_generator(generator)
        folder = self.contents or getattr(generator, "default_test_contents", None)
        contents = None if folder is None else Contents.find(generator, folder)
        knowledge = TagKnowledge.load(self.pairs)
        chosen = list(self.tags or (tags if tags is not None else bank.tags))
        moves = {
            tag: along(
                bank, tag, strength=self.strength, opposite=self.opposite, layers=self.layers, unit=self.unit,
                knowledge=knowledge,
            )
            for tag in chosen
        }  # fmt: skip
        codes = generator.sample_codes([self.seeds[0]])
        for move in moves.values():
            move(codes)  # an unknown tag, layer or unit is found before the work
        return Subject(generator, bank, contents, self.seeds, moves, chosen)


def _target_of(generator: Generator, target: Path | None) -> Path:
    found = target or getattr(generator, "default_targets", None)
    if found is None:
        raise LatentEditError(f"{generator.id} brings no real pictures along; name a folder of them with --target")
    return Path(found)


def _provenance(subject: Subject, **more: Any) -> dict[str, Any]:
    from latentedit import __version__

    return {
        "generator": subject.generator.id, "first_seed": subject.seeds[0], "pictures": len(subject.seeds),
        "contents": None if subject.contents is None else len(subject.contents), "latentedit": __version__, **more,
    }  # fmt: skip


@evaluate.command()
@common
@edited(200)
@click.option("--judge", default="avatar", show_default=True, help="tagger that scores; judge:avatar is independent")
@click.option("--out", type=click.Path(path_type=Path), help="also draw the matrix, as this picture")
@click.option("--force", is_flag=True, help="overwrite OUT")
def rescoring(context: Context, options: EditOptions, judge: str, out: Path | None, force: bool) -> None:
    """How much every tag's score moves when one tag is edited: a signed matrix with intervals."""
    import numpy as np

    from latentedit import load_tagger, rescore
    from latentedit.directions.pairs import TagKnowledge
    from latentedit.files import atomic_write

    if out:
        refuse_existing(out, force)
    subject = options.subject(context)
    tagger = load_tagger(judge, device=context.device)
    places = np.arange(len(subject.seeds))
    knowledge = TagKnowledge.load(options.pairs)
    r = rescore(
        subject.generator, tagger, subject.bank, subject.judged, list(subject.seeds), strength=options.strength,
        opposite=options.opposite, layers=options.layers, unit=options.unit, knowledge=knowledge,
        content=None if subject.contents is None else subject.contents(places % len(subject.contents)),
        batch_size=context.batch_size, progress=context.progress("re-score"),
    )  # fmt: skip
    fitted = {subject.bank[tag].tagger_id for tag in subject.judged}
    if tagger.id in fitted:
        context.say(f"the judge {tagger.id} is the tagger that these directions were fitted with, which flatters them")
    rows, summaries = [], {}
    for i, tag in enumerate(r.targets):
        if tag not in r.tags:
            rows.append([r.labels[i], "", "not measured by this judge", "", ""])
            continue
        s = summaries[tag] = r.summary(i, among="lacking", knowledge=knowledge)
        change = {other: abs(float(r.mean[i, r.tags.index(other)])) for other in r.others(i, knowledge=knowledge)}
        worst = max(change, key=change.__getitem__, default="")
        moved = f"{worst} {r.mean[i, r.tags.index(worst)]:+.2f}" if worst else ""
        rows.append([tag, str(s.pictures), format(s.target, ".2f"), format(s.off_target, ".3f"), moved])
    document = {
        "judge": tagger.id, "tags": r.tags, "edits": r.labels, "mean": r.mean, "low": r.low, "high": r.high,
        "among_lacking": summaries, "judge_fitted_directions": tagger.id in fitted,
        "provenance": _provenance(subject, strength=options.strength, unit=options.unit),
    }  # fmt: skip
    if out:
        from latentedit.study.report import matrix_picture

        with atomic_write(out) as temporary:
            matrix_picture(r).save(temporary, "PNG")
        context.say(f"wrote {out}")
    header = ("edit", "lack it", "target rises by", "others change by", "worst other, over all")
    context.result(document, table(header, rows))


@evaluate.command()
@common
@click.argument("pictures", type=click.Path(path_type=Path), required=False)
@edited(100)
@click.option(
    "--target", type=click.Path(path_type=Path), help="folder of real pictures  [default: the generator's own]"
)
@click.option("--features", default="efficientnet-lite0", show_default=True, help=FEATURES_HELP)
def fid(context: Context, options: EditOptions, pictures: Path | None, target: Path | None, features: str) -> None:
    """Fréchet distance to real pictures: of the folder PICTURES, else of random pictures before and after each edit.

    It is called FID over inception:FILE alone; over another network it has that network's name and does not compare
    with published figures.
    """
    from latentedit.metrics.edited_pictures import features_of_moves, features_of_pictures
    from latentedit.metrics.features import load_features
    from latentedit.metrics.features.base import metric_name
    from latentedit.metrics.frechet_distance import fid_difference, fid_interval, small_sample_note
    from latentedit.pictures.images import PictureFolder

    network = load_features(features, device=context.device)
    if pictures is not None:
        if target is None:
            raise click.UsageError("PICTURES are compared with those of --target FOLDER; name it")
        found = {str(pictures): features_of_pictures(network, PictureFolder(pictures, None))}
        real, provenance = PictureFolder(target, None), {"pictures": str(pictures)}
    else:
        subject = options.subject(context, ())
        real = PictureFolder(_target_of(subject.generator, target), subject.generator.resolution)
        found, _ = features_of_moves(
            subject.generator, network, subject.moves, subject.seeds, contents=subject.contents,
            batch_size=context.batch_size, progress=context.progress("decode"),
        )  # fmt: skip
        provenance = _provenance(subject, strength=options.strength, unit=options.unit)
    targets = features_of_pictures(network, real, progress=context.progress("real pictures"))
    name, rows, numbers = metric_name("FID", network), [], {}
    first, *rest = found
    for key in (first, *rest):
        value = fid_interval(found[key], targets)
        difference = None if key == first else fid_difference(found[key], found[first], targets)
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
@edited(10)
@click.option(
    "--target", type=click.Path(path_type=Path), help="folder of real pictures  [default: the generator's own]"
)
@click.option("--augmentations", type=click.IntRange(2), default=100, show_default=True, help="copies of each picture")
@click.option("--features", default="efficientnet-lite0", show_default=True, help=FEATURES_HELP)
def dfid(context: Context, options: EditOptions, target: Path | None, augmentations: int, features: str) -> None:
    """Domain Fréchet distance: many copies of one content picture, each in its own random style.

    --count is the number of content pictures; the 2022 study took 100 with --augmentations 1000.
    """
    from latentedit.metrics.domain_frechet import dfid as measure
    from latentedit.metrics.edited_pictures import ORIGINAL, features_of_pictures
    from latentedit.metrics.features import load_features
    from latentedit.metrics.features.base import metric_name
    from latentedit.metrics.frechet_distance import FrechetStatistics, small_sample_note
    from latentedit.pictures.images import PictureFolder

    network, subject = load_features(features, device=context.device), options.subject(context, ())
    folder = options.contents or getattr(subject.generator, "default_test_contents", None)
    if folder is None or subject.contents is None:
        raise LatentEditError(f"{subject.generator.id} needs content pictures here; name their folder with --contents")
    real = PictureFolder(_target_of(subject.generator, target), subject.generator.resolution)
    statistics = FrechetStatistics()
    statistics.update(features_of_pictures(network, real, progress=context.progress("real pictures")))
    pictures = PictureFolder(folder, subject.generator.resolution)
    result = measure(
        subject.generator, network, pictures[: len(subject.seeds)], statistics,
        moves={ORIGINAL: lambda codes: codes} | subject.moves, augmentations=augmentations, seed=subject.seeds[0],
        batch_size=context.batch_size, progress=context.progress("DFID"),
    )  # fmt: skip
    name, numbers, rows = metric_name("DFID", network), {}, []
    for key in (ORIGINAL, *subject.moves):
        value = result.means[key]
        difference = None if key == ORIGINAL else result.difference(key, ORIGINAL)
        numbers[key] = {"estimate": value, "difference": difference}
        rows.append([key, format(value, ".2f"), "" if difference is None else format(difference, "+.2f")])
    note = small_sample_note(min(len(real), augmentations), network.dim)
    if note:
        context.say(note)
    context.result(
        {"metric": name, "network": network.id, "numbers": numbers, "augmentations": augmentations, "note": note,
         "provenance": _provenance(subject, strength=options.strength, unit=options.unit)},
        table(("pictures", name, f"minus {ORIGINAL}"), rows),
    )  # fmt: skip


@evaluate.command()
@common
@click.argument("first", type=click.Path(path_type=Path), required=False)
@click.argument("second", type=click.Path(path_type=Path), required=False)
@edited(20)
@click.option("--styles", type=click.IntRange(2), default=10, show_default=True, help="random styles of each content")
@click.option("--network", default="efficientnet-lite0", show_default=True, help=PERCEPTUAL_HELP)
def lpips(
    context: Context, options: EditOptions, first: Path | None, second: Path | None, styles: int, network: str
) -> None:
    """Perceptual distance: between the pictures of two folders, FIRST and SECOND, in the order of their names;
    else between --styles random styles of each content (diversity) and between a picture and its edit (disturbance).

    It is called LPIPS over alex:, vgg: and squeeze:FILE alone.
    """
    from latentedit.metrics.features import load_features
    from latentedit.metrics.features.base import metric_name
    from latentedit.metrics.intervals import estimate

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

    subject = options.subject(context, ())
    diverse = diversity_of_moves(
        subject.generator, loaded, subject.moves, len(subject.seeds), styles=styles, seed=subject.seeds[0],
        contents=subject.contents, progress=context.progress("styles"),
    )  # fmt: skip
    _, apart_of = features_of_moves(
        subject.generator, None, subject.moves, subject.seeds, perceptual=loaded, contents=subject.contents,
        batch_size=context.batch_size, progress=context.progress("edits"),
    )  # fmt: skip
    rows, numbers = [], {}
    for key, values in diverse.items():
        change = None if key == ORIGINAL else estimate(values - diverse[ORIGINAL])
        moved = estimate(apart_of[key]) if key in apart_of else None
        numbers[key] = {"diversity": estimate(values), "difference": change, "disturbance": moved}
        cells = [
            format(estimate(values), ".3f"),
            *("" if e is None else format(e, f) for e, f in ((change, "+.3f"), (moved, ".3f"))),
        ]
        rows.append([key, *cells])
    header = ("pictures", f"diversity ({name})", f"minus {ORIGINAL}", "from picture to edit")
    context.result(
        {"metric": name, "network": loaded.id, "numbers": numbers, "styles": styles,
         "provenance": _provenance(subject, strength=options.strength, unit=options.unit)},
        table(header, rows),
    )  # fmt: skip


def _folders_apart(first: Path, second: Path, network: Any) -> Any:
    """Perceptual distance (n,) of the pictures of two folders, pair by pair."""
    import numpy as np

    from latentedit.metrics.perceptual import lpips as distance
    from latentedit.pictures.images import PictureFolder

    a, b = PictureFolder(first, None), PictureFolder(second, None)
    if len(a) != len(b):
        raise LatentEditError(f"{first} has {len(a)} pictures and {second} has {len(b)}; pairs need as many in both")
    return np.array([float(distance(x[None], y[None], network=network)) for x, y in zip(a, b, strict=True)])


@evaluate.command()
@click.argument("protocol", type=click.Path(path_type=Path), required=False)
@click.option("--out", type=click.Path(path_type=Path), default="study", show_default=True, help="folder of the study")
@click.option("--full", is_flag=True, help="at the sizes of the protocol's [full]; the 2022 study's take hours")
@click.option("--plan", is_flag=True, help="say what would be decoded and how long it takes, and stop")
@click.option("--generator", help="another one than the protocol's")
@click.option("--tagger", help="another one than the protocol's")
@click.option("--judge", help="another one than the protocol's")
@click.option("--features", help=f"for FID and DFID: {FEATURES_HELP}")
@click.option("--perceptual", help=f"for LPIPS: {PERCEPTUAL_HELP}")
@click.option(
    "--pictures", type=click.Path(path_type=Path), help="folder with trainA, testA, testB, as selfie2anime has them"
)
@click.option("--metric", "metrics", multiple=True, help="measure only this; repeat it for several")
@common
def study(
    context: Context, protocol: Path | None, out: Path, full: bool, plan: bool, generator: str | None,
    tagger: str | None, judge: str | None, features: str | None, perceptual: str | None, pictures: Path | None,
    metrics: tuple[str, ...],
) -> None:  # fmt: skip
    """Run a study: sample, fit every finder, edit, measure; tables here, and all of it in OUT/report.html.

    PROTOCOL is a TOML file; without one, the 2022 study's on the bundled generator. A stopped study goes on with
    the same command.
    """
    from latentedit.study.plan import steps_of, timed
    from latentedit.study.protocol import read_protocol
    from latentedit.study.report import evaluate as run
    from latentedit.study.report import tables_of
    from latentedit.study.results import as_json
    from latentedit.study.run import Study

    written = read_protocol(protocol, full=full)
    typed = {"generator": generator, "tagger": tagger, "judge": judge, "features": features, "perceptual": perceptual}
    for part, value in typed.items():
        name = getattr(written, part)
        if value is None and name.startswith("torch:"):  # a file does not choose what is imported and called
            raise LatentEditError(
                f"{part} of {protocol} is {name}, which is code; say that you want it: --{part} '{name}'"
            )
    asked = written.changed(
        generator=generator, tagger=tagger, judge=judge, features=features, perceptual=perceptual,
        metrics=metrics or None,
    )  # fmt: skip
    if pictures is not None:
        asked = asked.with_pictures(pictures)
    if plan:
        steps = timed(Study(asked, None, device=context.device, batch_size=context.batch_size))
        rows = [[s.name, str(s.pictures), f"{s.seconds / 60:.1f} min"] for s in steps]
        pictures_in_all, seconds = sum(s.pictures for s in steps), sum(s.seconds for s in steps)
        rows.append(["all", str(pictures_in_all), f"{seconds / 60:.1f} min"])
        context.result({"steps": steps, "seconds": seconds}, table(("step", "pictures", "about"), rows))
        return
    context.say(f"{sum(s.pictures for s in steps_of(asked))} pictures to decode when nothing is done yet")
    bars: dict[str, Progress] = {}

    def progress(step: str, done: int, total: int) -> None:
        if not context.quiet:
            bars.setdefault(step, Progress(step))(done, total)

    results = run(asked, out, device=context.device, batch_size=context.batch_size, progress=progress)
    lines = []
    for section in tables_of(results):
        for one in section.tables:
            lines += [section.heading, table(one.header, one.rows), one.note, ""]
    lines.append(f"wrote {out / 'report.html'} and {out / 'results.json'}")
    context.result(as_json(results), "\n".join(lines))
