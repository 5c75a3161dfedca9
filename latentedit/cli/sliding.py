"""``evaluate curves`` and ``evaluate axioms``: is what edits a good slider, and does it keep its word?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentedit.cli.common import Context, common
from latentedit.cli.evaluating import FEATURES_HELP, AskedSubject, evaluate, provenance_of, subject_options
from latentedit.cli.judging import judge_option, load_judge
from latentedit.cli.terminal import table
from latentedit.errors import LatentEditError

if TYPE_CHECKING:
    from latentedit.metrics.axioms import Axioms
    from latentedit.metrics.features.base import FeatureNetwork

_features_option = click.option(
    "--features", default="efficientnet-lite0", show_default=True,
    help=f"what pictures are compared by: {FEATURES_HELP}, or pixels",
)  # fmt: skip


@evaluate.command()
@common
@subject_options(100)
@judge_option
@click.option("--strengths", default="0.5,1,1.5,2,2.5,3", show_default=True, help="numbers, with commas between them")
@click.option("--all-pictures", is_flag=True, help="measure on all pictures, not on those that lack the tag")
@_features_option
def curves(
    context: Context, subject: AskedSubject, judge: str | None, strengths: str, all_pictures: bool, features: str
) -> None:
    """What edits do as their strength grows, and how good a slider each is.

    \b
    carry it    share of pictures with the tag at the largest strength
    half        strength at which half of them carry it
    gain        score achieved over score asked for; 3 asks for the whole tag
    monotone    share of steps that do not go back
    unevenness  of the steps between pictures: 0 even, 1 stands still and jumps
    """
    from latentedit.metrics.curves import strength_curves

    given = _numbers(strengths)
    s = subject.load(context, default=None)
    judged, network = load_judge(context, s.generator, {Path(s.where): s.editor}, judge), _network(features, context)
    tagger = judged.tagger
    found = strength_curves(
        s.generator, tagger, s.editor, s.edits, s.faces, given, among="all" if all_pictures else "lacking",
        features=network, batch_size=context.batch_size, relations=s.relations, progress=context.progress("curves"),
    )  # fmt: skip
    numbers = (("share", ".2f"), ("half", ".2f"), ("gain", ".2f"), ("monotone", ".3f"), ("unevenness", ".2f"))
    rows = []
    for i, (tag, label) in enumerate(zip(found.targets, found.labels, strict=True)):
        if tag not in tagger.tags:
            rows.append([label, "", "not measured by this judge", *[""] * 4])
            continue
        places = [(i, -1) if name == "share" else i for name, _ in numbers]
        values = [getattr(found, name)[place] for (name, _), place in zip(numbers, places, strict=True)]
        cells = [format(value, spec) for value, (_, spec) in zip(values, numbers, strict=True)]
        rows.append([label, str(found.pictures[i]), *cells])
    document = {"judge": judged.tagger.id, "judge_name": judged.name, **found.numbers(), "provenance": provenance_of(s)}
    header = ("edit", "pictures", f"carry it at {found.strengths[-1]:g}", "half at", "gain", "monotone", "unevenness")
    context.result(document, table(header, rows))


@evaluate.command()
@common
@subject_options(100)
@judge_option
@click.option(
    "--row", "steps", multiple=True, metavar="EDIT",
    help="do this one after another, judged at the end; repeat it  [default: long hair, open mouth, closed eyes, "
    "glasses, red hair, those that are known]",
)  # fmt: skip
@_features_option
def axioms(context: Context, subject: AskedSubject, judge: str | None, steps: tuple[str, ...], features: str) -> None:
    """What any editor owes to anyone: no jumps, no drift, there and back, no further than it takes.

    \b
    strength 0       whether it is the code, bit for bit
    at 0.001         the largest change of any score
    0, ten times     the same of ten edits of strength 0
    there and back   mean change of all scores
    nearer carriers  share of the tag's carriers that are as near to a face as its edit
    CLD              counterfactual latent divergence, 0 to 1, lower is better
    """
    from latentedit import Edit
    from latentedit.metrics.axioms import check_axioms

    s = subject.load(context, default=None)
    row = [Edit.parse(text, tags=s.editor.tags) for text in steps] or None
    judged = load_judge(context, s.generator, {Path(s.where): s.editor}, judge)
    found = check_axioms(
        s.generator, judged.tagger, s.editor, s.edits, s.faces, row=row, features=_network(features, context),
        batch_size=context.batch_size, relations=s.relations, progress=context.progress("axioms"),
    )  # fmt: skip
    document = {"judge": judged.tagger.id, "judge_name": judged.name, **found.numbers(), "provenance": provenance_of(s)}
    context.result(document, _axioms_text(found))


def _axioms_text(found: Axioms) -> str:
    header = ("edit", "strength 0", "at 0.001", "0, ten times", "there and back", "by", "nearer carriers", "CLD")
    rows = [
        [label, "the code" if found.exact[i] else "another code", f"{found.jump[i]:.4f}",
         f"{found.drift_scores[i]:.4f}", format(found.back[i], ".4f"), found.back_by[i],
         format(found.nearer[i], ".3f"), format(found.cld[i], ".2f")]
        for i, label in enumerate(found.labels)
    ]  # fmt: skip
    text = table(header, rows)
    if not found.row:
        return text
    row = [
        [label, str(found.row_pictures[i]), format(found.row_scores[i], ".2f")] for i, label in enumerate(found.row)
    ]  # fmt: skip
    return f"{text}\n\n{table(('one after another', 'lacked it', 'score at the end'), row)}"


def _network(name: str, context: Context) -> FeatureNetwork | None:
    from latentedit.metrics.features import load_features

    return None if name == "pixels" else load_features(name, device=context.device)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise LatentEditError(f"strengths are {text!r}; write numbers with commas between them, as in 1,2,3") from error
