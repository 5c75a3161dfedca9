"""``list``: what there is."""

from __future__ import annotations

import json
from pathlib import Path

import click

from latentedit.cli.common import Place, cli
from latentedit.cli.editing import OWN
from latentedit.cli.terminal import table


@cli.group("list")
def listing() -> None:
    """What there is: generators, taggers, finders, tags, directions."""


def _list_registry(name: str, module: str, attribute: str) -> None:
    @listing.command(name, help=f"Names of the {name} that can be used.")
    @click.option("--json", "as_json", is_flag=True, help="print one JSON document")
    def command(as_json: bool) -> None:
        import importlib

        names = getattr(importlib.import_module(module), attribute).names()
        click.echo(json.dumps({name: names}, indent=2) if as_json else "\n".join(names))


_list_registry("generators", "latentedit.generators", "GENERATORS")
_list_registry("taggers", "latentedit.taggers", "TAGGERS")
_list_registry("finders", "latentedit.directions", "FINDERS")


@listing.command("tags")
@click.argument("samples", type=Place(), required=False)
@click.option("--tagger", help="whose tags  [default: avatar; of samples, the one they have]")
@click.option("--json", "as_json", is_flag=True, help="print one JSON document")
def list_tags(samples: Path | None, tagger: str | None, as_json: bool) -> None:
    """Tags that a tagger knows, or how often each is on SAMPLES."""
    if samples is None:
        from latentedit import load_tagger

        names = list(load_tagger(tagger or "avatar").tags)
        click.echo(json.dumps({"tags": names}, indent=2) if as_json else "\n".join(names))
        return
    from latentedit import open_samples

    stored = open_samples(samples)
    counts = dict(sorted(stored.tag_counts(tagger).items(), key=lambda item: -item[1]))
    labels = stored.label_counts(tagger)
    rows = [[tag, str(count), f"{count / max(labels[tag], 1):.1%}"] for tag, count in counts.items()]
    document = {
        "tagger": stored.tagger_id(tagger), "taggers": stored.taggers, "rows": stored.labelled(tagger), "tags": counts,
        "labelled": {tag: labels[tag] for tag in counts},
    }  # fmt: skip
    click.echo(json.dumps(document, indent=2) if as_json else table(["tag", "samples", "share"], rows))


@listing.command("directions")
@click.argument("file", type=Place(), required=False)
@click.option("--cosines", is_flag=True, help="the whole matrix of cosines instead of each direction's nearest")
@click.option("--json", "as_json", is_flag=True, help="print one JSON document")
def list_directions(file: Path | None, cosines: bool, as_json: bool) -> None:
    """Directions of FILE: σ, held-out score, support, nearest other direction; of SeFa also which component each tag
    was given, and how it correlates with the tag.

    Without FILE: of the newest file in ./directions, else the shipped ones, as of FILE 'shipped'. Of a prior: its tags,
    and how well each is read off codes.
    """
    from latentedit import load_generator
    from latentedit.directions.bank import DirectionBank
    from latentedit.directions.evidence import above_chance, chance_line, shared_components, shared_line
    from latentedit.directions.table import table_of
    from latentedit.editing.editors import SHIPPED, newest_editor, open_editor

    def say(text: str) -> None:
        click.echo(text, err=True)

    if file is None:
        newest = newest_editor(OWN, say=say)
        file = Path(SHIPPED) if newest is None else newest[1]
        say(f"directions: {file}")
    bank = DirectionBank.load_default(load_generator("avatar")) if str(file) == SHIPPED else open_editor(file)
    if not isinstance(bank, DirectionBank):
        _list_prior(file, as_json)
        return
    matrix = bank.cosines()
    for line in (shared_line(bank), chance_line(bank)):
        if line:
            say(line)
    if as_json:
        described = [
            {
                "tag": d.tag,
                "finder": d.finder,
                "sigma": d.sigma,
                "score": d.score,
                "support": d.support,
                "coefficient_norm": d.coefficient_norm,
                "component": d.params.get("component"),
                "correlation": d.params.get("correlation"),
                "strength": d.strength,
                "above_chance": above_chance(d),
            }
            for d in bank
        ]
        document = {
            "generator": bank.generator_id, "directions": described, "shared_components": shared_components(bank),
            "cosines": matrix.tolist(),
        }  # fmt: skip
        click.echo(json.dumps(document, indent=2))
    elif cosines:
        click.echo(
            table(
                ["", *bank.tags],
                [[tag, *(f"{c:+.2f}" for c in row)] for tag, row in zip(bank.tags, matrix.tolist(), strict=True)],
            )
        )
    else:
        click.echo(table(*table_of(bank)))


def _list_prior(file: Path, as_json: bool) -> None:
    """The tags of a prior, in its order."""
    from latentedit.files import jsonable
    from latentedit.inspection import inspect_editor

    described = inspect_editor(file)
    if as_json:
        document = {"generator": described.generator_id, "tags": described.tags, "reading": described.reading}
        click.echo(json.dumps(jsonable(document), indent=2))
        return
    order = {tag: i for i, tag in enumerate(described.tags)}
    rows = [
        [one.tag, one.shown_area, f"{one.right:.1%}", "codes" if one.read else "samples alone"]
        for one in sorted(described.reading, key=lambda one: order[one.tag])
    ]
    click.echo(table(["tag", "area under ROC", "right", "known from"], rows))
