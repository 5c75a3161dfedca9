"""``tag`` and ``compare-tags``: what is on stored samples or pictures, and whether two taggers agree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli.common import Context, OutFile, Place, cli, common, recorded_generator, rows_kept
from latentedit.cli.drawing import check_place
from latentedit.cli.terminal import table
from latentedit.errors import LatentEditError

if TYPE_CHECKING:
    from PIL import Image

    from latentedit.generators import Generator
    from latentedit.metrics import Agreement
    from latentedit.samples.store import Samples
    from latentedit.taggers import Tagger

TAGGER_HELP = "avatar, deepdanbooru:DIR, onnx:DIR, clip:DIR, csv:FILE, torch:package.module:factory"


@cli.command()
@click.argument("what", metavar="[SAMPLES | PICTURE...]", nargs=-1, type=Place())
@click.option("--tagger", required=True, help=TAGGER_HELP)
@click.option("--generator", help="of the samples  [default: the one that they name, unless it is torch:...]")
@click.option("--contents", type=Place(), help="folder of the content pictures, if it has moved")
@click.option(
    "--threshold", type=click.FloatRange(0, 1), help="of pictures: print tags from this score on  [default: the tags']"
)
@common
def tag(
    context: Context, what: tuple[Path, ...], tagger: str, generator: str | None, contents: Path | None,
    threshold: float | None,
) -> None:  # fmt: skip
    """Tag stored SAMPLES (default: samples) with another tagger, beside those that are there; or print the tags of
    picture files or of a folder of them.
    """
    if _are_samples(what):
        if threshold is not None:
            raise LatentEditError("--threshold is for pictures; of samples, all scores are stored")
        _tag_samples(context, what[0] if what else Path("samples"), tagger, generator, contents)
        return
    if generator is not None or contents is not None:
        raise LatentEditError(f"--generator and --contents are for stored samples, and {what[0]} is none")
    _tag_pictures(context, what, context.tagger(tagger), threshold)


def _tag_pictures(context: Context, what: tuple[Path, ...], tagger: Tagger, threshold: float | None) -> None:
    """Print the tags of pictures: as text when they are known, as JSON in the end, however that comes."""
    from latentedit.samples.tagging import TaggedPictures, tag_pictures

    pictures = what[0] if len(what) == 1 else what
    several = len(what) > 1 or what[0].is_dir()
    found: dict[str, dict[str, float]] = {}

    def tagged(part: TaggedPictures) -> None:
        new = {str(path): part.present(i, threshold=threshold) for i, path in enumerate(part.paths)}
        found.update(new)
        context.part(_of_pictures(new))

    def document(**more: object) -> dict[str, object]:
        shown = [{"file": file, "tags": tags} for file, tags in found.items()]
        return {"tagger": tagger.id, "pictures": shown, **more}

    context.kept = lambda: f"the tags of {len(found)} pictures are printed" if found else "no picture was tagged"
    progress = context.progress("tag") if several else None
    try:
        tag_pictures(pictures, tagger, batch_size=context.batch_size, progress=progress, tagged=tagged)
    except BaseException as error:
        if found:
            why = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
            context.result(document(stopped=why, missing=_others(what, found)), "")
        raise
    context.result(document(), "")


def _others(what: tuple[Path, ...], found: Mapping[str, object]) -> list[str]:
    """The pictures that were named, or are in the folder that was, and were not found."""
    from latentedit.pictures.images import list_pictures

    every = list_pictures(what[0]) if what[0].is_dir() else what
    return [str(path) for path in every if str(path) not in found]


def _are_samples(what: tuple[Path, ...]) -> bool:
    from latentedit.samples.manifest import NAME

    if len(what) > 1 and (stored := [path for path in what if (path / NAME).exists()]):
        raise LatentEditError(f"{stored[0]} holds stored samples; tag them by themselves")
    if not what or (what[0] / NAME).exists():
        return True
    if len(what) == 1 and not what[0].exists() and not what[0].suffix:
        raise LatentEditError(f"there is nothing at {what[0]}; give a folder of samples, or pictures")
    return False


def _of_pictures(found: dict[str, dict[str, float]]) -> str:
    lines = []
    for file, tags in found.items():
        lines += [file, *(f"  ({score:.3f}) {tag}" for tag, score in tags.items())]
    return "\n".join(lines)


def _tag_samples(context: Context, samples: Path, tagger: str, generator: str | None, contents: Path | None) -> None:
    from latentedit import open_samples
    from latentedit import tag as run

    stored = open_samples(samples)
    t = context.tagger(tagger)
    context.kept = lambda: rows_kept(samples, t.id)
    tagged = run(
        stored, _generator(context, stored, generator), t, contents=contents, batch_size=context.batch_size,
        progress=context.progress("tag"), tagger_name=tagger,
    )  # fmt: skip
    counts = dict(sorted(tagged.tag_counts(t.id).items(), key=lambda item: -item[1]))
    context.result(
        {"samples": str(samples), "tagger": t.id, "taggers": list(tagged.taggers), "tags": counts},
        f"{samples} has the tags of {', '.join(tagged.taggers)}{most_frequent(counts, '; most frequent now: ')}",
    )


def most_frequent(counts: dict[str, int], title: str) -> str:
    """The first six of tags in order of their number, with a title, or that there is none; "" without a tagger."""
    found = [f"{name} {count}" for name, count in counts.items() if count][:6]
    if counts and not found:
        return "; no tag is on any of them"
    return title + ", ".join(found) if found else ""


def _generator(context: Context, stored: Samples, asked: str | None) -> Generator:

    recorded = stored.manifest.generator or ""
    return context.generator(recorded_generator(asked, recorded, stored.path))


@cli.command("compare-tags")
@click.argument("samples", type=Place(), default="samples")
@click.option("--tagger", "taggers", multiple=True, help="two of them, by id or name  [default: the first and last]")
@click.option("--picture", type=OutFile(".png"), help="write the pictures that they disagree on")
@click.option("--generator", help="for --picture  [default: the one that the samples name, unless it is torch:...]")
@click.option("--contents", type=Place(), help="folder of the content pictures, if it has moved")
@click.option("--force", is_flag=True, help="overwrite the picture")
@common
def compare_tags(
    context: Context, samples: Path, taggers: tuple[str, ...], picture: Path | None, generator: str | None,
    contents: Path | None, force: bool,
) -> None:  # fmt: skip
    """Say how well two taggers agree on SAMPLES (default: samples), tag by tag."""
    if len(taggers) not in (0, 2):
        raise LatentEditError(f"{len(taggers)} taggers given; give --tagger twice, or not at all")
    if picture is not None:
        check_place(picture, force)
    from latentedit import open_samples
    from latentedit.metrics import tagger_agreement
    from latentedit.pictures.writing import write_picture

    stored = open_samples(samples)
    agreement = tagger_agreement(stored, *taggers)
    if picture is not None:
        sheet = _disagreements(context, stored, agreement, _generator(context, stored, generator), contents)
        write_picture(picture, sheet)
    context.result(_document(agreement, picture), _text(agreement, picture))


def _disagreements(
    context: Context, stored: Samples, agreement: Agreement, generator: Generator, contents: Path | None
) -> Image.Image:
    from latentedit.editing.sheets import sides_sheet
    from latentedit.samples.fill import pictures_of

    rows = []
    for j in agreement.seen[:8]:
        sides = agreement.shown[j]
        if not any(sides):
            break
        seeds = [*sides[0], *sides[1]]
        pictures = pictures_of(stored, generator, seeds, contents=contents, batch_size=context.batch_size)
        rows.append((agreement.tags[j], pictures[: len(sides[0])], pictures[len(sides[0]) :]))
    if not rows:
        raise LatentEditError(f"{agreement.first} and {agreement.second} agree on every row; there is nothing to show")
    first, second = (stored.manifest.tagger(t).name or t for t in (agreement.first, agreement.second))
    return sides_sheet(rows, f"only {first}", f"only {second}")


def _document(agreement: Agreement, picture: Path | None) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return None if value != value else round(float(value), 6)  # NaN is not JSON

    tags = {
        agreement.tags[j]: {
            "only_first": int(agreement.only_first[j]), "only_second": int(agreement.only_second[j]),
            "both": int(agreement.both[j]), "kappa": number(agreement.kappa[j]),
            "correlation": number(agreement.correlation[j]), "labelled": int(agreement.labelled[j]),
        }
        for j in range(len(agreement.tags))
    }  # fmt: skip
    return {
        "first": agreement.first, "second": agreement.second, "rows": agreement.rows, "tags": tags,
        "missing_first": list(agreement.missing_first), "missing_second": list(agreement.missing_second),
        "picture": None if picture is None else str(picture),
    }  # fmt: skip


def _text(agreement: Agreement, picture: Path | None) -> str:
    def number(value: float) -> str:
        return "" if value != value else f"{value:.2f}"

    rows = [
        [
            agreement.tags[j], str(agreement.both[j]), str(agreement.only_first[j]), str(agreement.only_second[j]),
            number(agreement.kappa[j]), number(agreement.correlation[j]),
        ]
        for j in agreement.seen
    ]  # fmt: skip
    lines = [
        f"{agreement.rows} samples; first {agreement.first}, second {agreement.second}",
        table(["tag", "both", "only first", "only second", "kappa", "correlation"], rows),
    ]
    if (agreement.labelled < agreement.rows).any():
        lines.append("a tag counts where both have a label for it")
    unseen, missing = len(agreement.tags) - len(rows), len(agreement.missing_first) + len(agreement.missing_second)
    lines.append(f"{unseen} common tags are on no sample; {missing} tags are known to one of them alone")
    return "\n".join([*lines, *([f"wrote {picture}"] if picture else [])])
