"""The whole job at once: sample, fit every finder, edit, re-score, report.

The figures follow the 2022 study (its figures 5.1 to 5.3: hair, mouth and eyes, with and without
the opposing tag); the report adds the generator's shipped prior, and the full re-scoring matrix of every editor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentedit.directions import fit_directions
from latentedit.directions.edits import DEFAULT_STRENGTH, Edit
from latentedit.directions.moments import Moments
from latentedit.directions.pairs import TagRelations
from latentedit.editing.editor import Editor
from latentedit.generators import Generator, load_generator
from latentedit.metrics import Rescoring, rescore
from latentedit.metrics.carriers import draw_own, natural_networks
from latentedit.pictures.grid import grid
from latentedit.pictures.report import Figure, Section, Table, heat_map, write_report
from latentedit.pictures.writing import write_picture
from latentedit.prior.prior import Prior
from latentedit.samples.sampling import sample
from latentedit.samples.store import Samples
from latentedit.study.columns import READING as LOOKS
from latentedit.study.columns import cell, look_cells, look_header, networks_of
from latentedit.taggers import load_tagger

EDITS = ("long_hair", "open_mouth", "closed_eyes")
MATRIX = (*EDITS, "short_hair", "closed_mouth", "open_eyes", "red_hair", "smile", "glasses", "dark_skin")
FINDERS = ("linear", "lasso", "svd", "sefa")
PRIOR = "prior"
JUDGE = "judge:avatar"
"""Independent of the tagger that the finders learn from."""
FIRST_UNSEEN = 1_000_000
OWN = 1_000
"""Own pictures drawn at most, to see what is natural."""
SHOWN = 8

Progress = Callable[[str, int, int], None]


def demo(
    out: str | Path = "demo",
    *,
    n: int = 3_000,
    measured: int = 100,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> Path:
    """Run the whole job on the bundled generator and write ``out/report.html``.

    Args:
        out: folder for samples, directions, pictures and the report; what it holds already of the
            same job is used again.
        n: samples to draw.
        measured: faces that no finder saw, to edit and measure.
        device: as in torch.
        dtype: that the generator decodes in.
        batch_size: pictures decoded at once.
        progress: called with (step, done, total).

    Returns:
        Path of the report.

    Raises:
        LatentEditError: the folder cannot be written to, or holds another run.
    """
    out = Path(out)
    unseen = range(FIRST_UNSEEN, FIRST_UNSEEN + measured)
    generator = load_generator("avatar", device=device, dtype=dtype)
    tagger = load_tagger("avatar", device=device)

    def during(step: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(step, done, total) if progress else None

    samples = sample(
        generator, out / "samples", tagger=tagger, n=n, batch_size=batch_size, progress=during("sample"),
        generator_name="avatar", tagger_name="avatar",
    )  # fmt: skip
    moments = Moments.from_samples(samples)
    editors: dict[str, Editor] = {}
    with_opposite: dict[str, Rescoring] = {}
    without_opposite: dict[str, Rescoring] = {}
    for i, finder in enumerate(FINDERS):
        during("fit")(i, len(FINDERS))
        bank = fit_directions(moments, finder=finder, generator=generator)
        bank.save(out / f"{finder}.safetensors")
        editors[finder] = bank
    during("fit")(len(FINDERS), len(FINDERS))
    editors[PRIOR] = Prior.load_default(generator)
    judge = load_tagger(JUDGE, device=device)
    networks, natural_note = natural_networks(judge, device=device)
    own = draw_own(
        generator, judge, EDITS, unseen, networks=networks, most=OWN, batch_size=batch_size,
        progress=during("own pictures"),
    )  # fmt: skip
    for name, editor in editors.items():
        for tags, opposite, results in ((MATRIX, "auto", with_opposite), (EDITS, None, without_opposite)):
            if name == PRIOR and opposite is None:
                continue  # a prior leaves an opposite that it is not told of to the flow: nothing to see
            results[name] = rescore(
                generator, judge, editor, [Edit(tag, opposite=opposite) for tag in tags if tag in editor.tags], unseen,
                batch_size=batch_size, own=own if opposite else None,
                progress=during(f"re-score {name}{'' if opposite else ', no opposite'}"),
            )  # fmt: skip
    sections = [
        _samples_section(samples),
        *(_edit_section(generator, editors, tag, with_opposite["lasso"], out) for tag in EDITS),
        _strength_section(generator, editors, out),
        _matrix_section(with_opposite),
        _table_section(with_opposite, without_opposite, natural_note),
        _commands_section(n),
    ]
    summary = (
        f"{n} random faces of the bundled generator, tagged; {len(FINDERS)} finders looked for one direction per tag; "
        f"hair, mouth and eyes edited at {DEFAULT_STRENGTH:g} σ, and by the prior that ships, and measured on "
        f"{measured} faces that no finder saw, by {JUDGE}, which no finder learned from."
    )
    return write_report(out / "report.html", "latentedit: sliders found in a generator", sections, summary=summary)


def _samples_section(samples: Samples) -> Section:
    counts = sorted(samples.tag_counts().items(), key=lambda item: -item[1])
    rows = [[tag, str(count), f"{count / samples.rows:.1%}"] for tag, count in counts]
    third = -(-len(rows) // 3)
    return Section(
        "Samples",
        f"Tags on {samples.rows} samples of {samples.generator_id}, by {samples.taggers[0]}.",
        tables=[Table(("tag", "samples", "share"), rows[i : i + third]) for i in range(0, len(rows), third)],
    )


def _faces_lacking(rescoring: Rescoring, tag: str) -> Sequence[int]:
    rows = np.flatnonzero(rescoring.rows(rescoring.targets.index(tag)))[:SHOWN]
    return [FIRST_UNSEEN + int(i) for i in rows]


def _edit_section(
    generator: Generator, editors: dict[str, Editor], tag: str, rescoring: Rescoring, out: Path
) -> Section:
    codes = generator.sample_codes(_faces_lacking(rescoring, tag))
    opposed = TagRelations.load().opposite_of(tag)
    pictures, labels = [generator.decode(codes)], ["original"]
    for editor_name, editor in editors.items():
        if tag not in editor.tags:
            continue
        pair = opposed if opposed and opposed.negative in editor.tags else None
        for opposite, name in (("auto", f"+ {tag} − {pair.negative}" if pair else f"+ {tag}"), (None, f"+ {tag}")):
            if opposite is None and (pair is None or editor_name == PRIOR):
                continue
            pictures.append(generator.decode(editor.edit(codes, Edit(tag, opposite=opposite))))
            labels.append(f"{editor_name}: {name}")
    sheet = grid(torch.cat(pictures), len(codes), row_labels=labels)
    write_picture(out / f"edit-{tag}.png", sheet)
    caption = f"{tag} at {DEFAULT_STRENGTH:g} σ on faces without it, with and without the opposing tag."
    return Section(tag.replace("_", " "), figures=[Figure(sheet, caption)])


def _strength_section(generator: Generator, editors: dict[str, Editor], out: Path) -> Section:
    steps = (-3, -2, -1, 0, 1, 2, 3)
    codes = generator.sample_codes([FIRST_UNSEEN])
    shown = [(tag, name) for tag in EDITS for name in ("lasso", PRIOR)]
    rows: list[Tensor] = [
        generator.decode(editors[name].edit(codes, Edit(tag, s))) for tag, name in shown for s in steps
    ]
    labels = [f"{name}: {tag}" for tag, name in shown]
    sheet = grid(torch.cat(rows), len(steps), row_labels=labels, column_labels=[f"{s:+d}" for s in steps])
    write_picture(out / "strengths.png", sheet)
    caption = "lasso directions with their opposing tags, in σ, and the prior."
    return Section("One face, seven strengths", figures=[Figure(sheet, caption)])


def _matrix_section(rescorings: dict[str, Rescoring]) -> Section:
    figures = []
    for finder, r in rescorings.items():
        common = [j for j in range(len(r.tags)) if (r.before[:, j] >= r.thresholds[j]).mean() >= 0.03]
        tags = [r.tags[j] for j in common]
        marked = [tags.index(t) if t in tags else -1 for t in r.targets]
        figures.append(
            Figure(heat_map(r.mean[:, common], r.labels, tags, marked=marked), f"{finder}, with opposing tags")
        )
    text = (
        "Rows: what was edited. Columns: the mean change of each tag's score over all faces, also those that had the "
        "edited tag before; tags of at least 3 % of the faces."
    )
    return Section("Re-scoring matrices", text, figures=figures)


def _table_section(
    with_opposite: dict[str, Rescoring], without_opposite: dict[str, Rescoring], natural_note: str
) -> Section:
    rows, networks = [], networks_of(with_opposite.values())
    for name, rescorings in (("yes", with_opposite), ("no", without_opposite)):
        for finder, r in rescorings.items():
            for i, target in enumerate(r.targets):
                if target not in EDITS:
                    continue
                s, worst = r.summary(i, among="lacking"), r.worst_other(i, among="lacking")
                other = f"{worst[0]} {worst[1].value:.2f}" if worst else ""
                rise = [format(s.target, "+.2f"), cell(s.ceiling, 2)]
                scores = [*rise, format(s.off_target, ".3f"), other, format(s.selectivity, ".1f")]
                rows.append([target, finder, name, *scores, *look_cells(s, networks)])
    order = (*FINDERS, PRIOR)
    rows.sort(key=lambda row: (EDITS.index(row[0]), order.index(row[1]), row[2]))
    header = ["edit", "by", "opposing tag", "target rises by", "ceiling", "others change by", "worst other"]
    note = (
        "On faces that lack the tag. Others: mean absolute change of tags outside the target's own group. "
        f"Selectivity: target over others. {LOOKS} {natural_note}"
    )
    table = Table([*header, "selectivity", *look_header(networks)], rows, note.strip())
    return Section("Did the target move, did anything else?", tables=[table])


def _commands_section(n: int) -> Section:
    commands = [
        f"latentedit sample samples --n {n}",
        *(f"latentedit fit-directions samples --finder {finder}" for finder in FINDERS),
        *(f"latentedit edit --tag {tag} --directions directions/lasso.safetensors" for tag in EDITS),
        "latentedit fit-prior samples",
        *(f"latentedit edit --tag {tag} --prior directions/prior.safetensors" for tag in EDITS),
        "latentedit edit --tag red_hair --opposite black_hair --directions directions/lasso.safetensors",
    ]
    return Section("Do it again", "The same steps, one by one:", commands=commands)
