"""A study as its reader sees it: tables, heat maps and pictures, in the terminal and as ``report.html``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from latentedit.files import atomic_write
from latentedit.metrics.intervals import Estimate, estimate
from latentedit.metrics.rescoring import Rescoring
from latentedit.pictures.grid import grid
from latentedit.pictures.report import Figure, Section, Table, curve_plot, heat_map, write_report
from latentedit.study.columns import READING as LOOKS
from latentedit.study.columns import cell, look_cells, look_header, natural_cell, networks_of
from latentedit.study.comparison import columns_of, gap, measures_of, table_of
from latentedit.study.protocol import Protocol, read_protocol
from latentedit.study.results import Number, Results, as_json, results_of
from latentedit.study.run import Measured, Study, edits_of

NO_DIFFERENCE = "no difference shown"
SHOWN = 6
TITLES = {
    "fid": "Fréchet distance to the real pictures",
    "dfid": "Domain Fréchet distance: many copies of one picture, each in its own style",
    "lpips": "Diversity: perceptual distance between random styles of one picture",
    "disturbance": "Disturbance: perceptual distance between a picture and its edit",
}
READING = {
    "fid": "Lower is nearer to the real pictures.",
    "dfid": "Lower is nearer to the real pictures, over every style of one content (equation 5.1 of the study).",
    "lpips": "Higher is more diverse.",
    "disturbance": "Lower leaves more of the picture as it was.",
}


def evaluate(
    protocol: Protocol | str | Path | None = None,
    out: str | Path = "study",
    *,
    full: bool = False,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    batch_size: int = 32,
    progress: Callable[[str, int, int], None] | None = None,
) -> Results:
    """Run a study: sample, fit, edit, measure; write ``out/report.html`` and ``out/results.json``.

    Args:
        protocol: a study, or its TOML file; the shipped one of 2022 when None.
        out: folder of the study; a stopped one goes on, and what was measured with the same settings is used again.
        full: the sizes of the file's [full] rather than of [sizes].
        device: as in torch.
        dtype: that the generator decodes in.
        batch_size: pictures decoded at once.
        progress: called with (step, done, total).

    Raises:
        LatentEditError: the folder holds another study, or what the protocol names cannot be loaded or measured.
    """
    if not isinstance(protocol, Protocol):
        protocol = read_protocol(protocol, full=full)
    study = Study(protocol, out, device=device, dtype=dtype, batch_size=batch_size, progress=progress)
    measured = study.measure()
    results = results_of(measured)
    with atomic_write(study.out / "results.json") as temporary:
        temporary.write_text(json.dumps(as_json(results), indent=2) + "\n", encoding="utf-8")
    sections = [*tables_of(results), *_pictures(study, measured)]
    sections += [*_least_natural(study, measured, results), _provenance(results)]
    write_report(study.out / "report.html", protocol.title, sections, summary=_summary(results))
    return results


def tables_of(results: Results) -> list[Section]:
    """Every table of a study, and the heat maps that belong to them."""
    sections = [_rescoring_section(results), _summary_section(results), _opposing_section(results)]
    sections += [_curve_section(results), _dependency_section(results)]
    sections += [_metric_section(results, metric) for metric in TITLES if results.of(metric)]
    return [section for section in sections if section.tables or section.figures]


def against_zero(difference: Estimate, digits: int) -> str:
    """A difference in words: signed with its interval, or that none is shown."""
    text = format(difference, f"+.{digits}f")
    return text if difference.shows_difference else f"{NO_DIFFERENCE} ({text})"


# ---- sections


def _metric_section(results: Results, metric: str) -> Section:
    numbers = results.of(metric)
    digits = 3 if metric in ("lpips", "disturbance") else 1
    name = results.names.get("lpips" if metric == "disturbance" else metric, metric)
    published = [n for n in numbers if n.published is not None]
    header = ["method", "edit", name]
    if compared := any(n.difference for n in numbers):
        header.append("against unedited")
    if published:
        header += [f"{results.protocol.source or 'published'}: {metric.upper()}", "against unedited"]
    rows = []
    for n in numbers:
        row = [n.method, n.edit, cell(n.estimate, digits)]
        if compared:
            row.append("" if n.difference is None else against_zero(n.difference, digits))
        if published:
            row += _published_cells(results, n, digits)
        rows.append(row)
    note = f"{READING[metric]} {numbers[0].pictures} pictures. {results.notes.get(metric, '')}".strip()
    return Section(TITLES[metric], tables=[Table(header, rows, note)])


def _published_cells(results: Results, number: Number, digits: int) -> list[str]:
    if number.published is None:
        return ["", ""]
    original = results.find(number.metric, "original")
    base = None if original is None or original is number else original.published
    change = "" if base is None else f"{number.published - base:+.{digits}f}"
    return [f"{number.published:.{digits}f}", change]


def _rescoring_section(results: Results) -> Section:
    """Matrices: the study's columns beside its numbers, and heat maps of all common tags."""
    p = results.protocol
    rows, figures = [], []
    printed = p.published.get("rescoring", {})
    for method, (opposed, _) in results.rescorings.items():
        columns = [e for e in p.edits if e.positive in opposed.tags]
        for i, edit in enumerate(opposed.labels):
            places = [opposed.tags.index(e.positive) for e in columns]
            cells = [f"{opposed.mean[i, j]:+.2f} [{opposed.low[i, j]:+.2f}, {opposed.high[i, j]:+.2f}]" for j in places]
            row = [method, edit, *cells]
            if printed:
                theirs = printed.get(method)
                values = theirs.get(edit, ()) if isinstance(theirs, dict) else ()
                row += [f"{v:+.3f}" for v in values] if len(values) == len(p.edits) else [""] * len(p.edits)
            rows.append(row)
        figures.append(Figure(matrix_picture(opposed), f"{method}, with opposing tags"))
    header = ["method", "edited", *(f"{e.name} ({e.positive})" for e in p.edits)]
    if printed:
        header += [f"{p.source or 'published'}: {e.name}" for e in p.edits]
    judge, tagger = results.provenance["judge"]["id"], results.provenance["tagger"]["id"]
    note = f"Mean change of the score over all pictures, by {judge}"
    note += ", the tagger that the directions were fitted with, which flatters them." if judge == tagger else "."
    tables = [Table(header, rows, note)] if rows else []
    return Section("Re-scoring", "Rows: what was edited. Columns: what was measured.", figures=figures, tables=tables)


def matrix_picture(r: Rescoring) -> Image.Image:
    """The re-scoring matrix as a heat map, over the tags that at least 3 % of the pictures carry before or after."""
    seen = np.maximum((r.before >= r.thresholds).mean(0), (r.after >= r.thresholds).mean(1).max(0))  # (k,)
    columns = [j for j in range(len(r.tags)) if seen[j] >= 0.03]
    tags = [r.tags[j] for j in columns]
    marked = [tags.index(t) if t in tags else -1 for t in r.targets]
    return heat_map(r.mean[:, columns], r.labels, tags, marked=marked)


def _summary_section(results: Results) -> Section:
    rows, networks = [], networks_of(opposed for opposed, _ in results.rescorings.values())
    for method, (opposed, _) in results.rescorings.items():
        for i, edit in enumerate(opposed.labels):
            if opposed.targets[i] not in opposed.tags:
                continue
            s = opposed.summary(i, among="lacking")
            scores = [cell(s.target, 2), cell(s.ceiling, 2), cell(s.off_target, 3), cell(s.selectivity, 1)]
            rows.append([edit, method, str(s.pictures), *scores, *look_cells(s, networks)])
    rows.sort(key=lambda row: [e.name for e in results.protocol.edits].index(row[0]))
    header = ["edit", "method", "pictures", "target rises by", "ceiling", "others change by", "selectivity"]
    looks = [one.looks for one, _ in results.rescorings.values() if one.looks is not None]
    told = [results.notes.get("natural", ""), *dict.fromkeys(note for one in looks for note in one.notes)]
    note = (
        "Over the pictures that lack the edit's tag. Others: mean absolute change of the tags outside the target's own "
        "group that at least 3 % of the pictures carry. Selectivity: the first over the second, the latter not below "
        f"0.005. {LOOKS} {'; '.join(filter(None, told))}"
    )
    tables = [Table([*header, *look_header(networks)], rows, note.strip())] if rows else []
    if matched := _matched_table(results, networks):
        tables.append(matched)
    if best := _best_rows(results):
        header = ["edit", "measure", "first", "second", "first minus second"]
        tables.append(Table(header, best, "Paired over the pictures that lack the tag; the same pictures for all."))
    return Section("Did the target move, did anything else? Which method wins?", tables=tables)


def _matched_table(results: Results, networks: tuple[str, ...]) -> Table | None:
    """Naturalness among carriers with the nearest other tags, and the gap, by every network."""
    kinds = ("matched", "gap")
    rows = []
    for method, (opposed, _) in results.rescorings.items():
        for i, edit in enumerate(opposed.labels):
            if opposed.natural(i):
                s = opposed.summary(i, among="lacking")
                rows.append([edit, method, *(natural_cell(s, name, kind) for name in networks for kind in kinds)])
    if not rows:
        return None
    header = ["edit", "method"]
    for name in networks:
        header += [f"natural, matched ({name})", f"gap ({name})"]
    note = (
        "Matched: among the quarter of the carriers whose other tags are nearest to the edited picture's, fresh "
        "carriers likewise, so that an edit which keeps the rest of an unusual face is not charged for it; blank with "
        "fewer than 240 carriers."
    )
    return Table(header, rows, note)


def _best_rows(results: Results) -> list[list[str]]:
    """For each edit and measure, the two best methods and whether a difference between them is shown."""
    rows = []
    for e in results.protocol.edits:
        held = {m: r for m, (r, _) in results.rescorings.items() if e.name in r.labels and e.positive in r.tags}
        if len(held) < 2:
            continue
        others = tuple(dict.fromkeys(t for r in held.values() for t in r.others(r.labels.index(e.name))))
        columns = {m: columns_of(r, r.labels.index(e.name), others=others) for m, r in held.items()}
        columns = {m: one for m, one in columns.items() if len(one["target"])}
        if len(columns) < 2:
            continue
        tables, measures = table_of(columns), measures_of(columns.values())
        first = next(iter(held.values()))
        lacking = first.rows(first.labels.index(e.name))
        groups = None if first.groups is None else first.groups[lacking]
        for measure, of in measures.items():
            if measure in ("others change by", "elsewhere"):  # less of them is no merit of an edit that does nothing
                continue
            order = sorted(tables, key=lambda m: -float(of(tables[m].mean(0))))[:2]  # noqa: B023
            both = np.concatenate([tables[m] for m in order], 1)  # (n, 2c)
            difference = estimate(both, partial(gap, of), n_boot=results.protocol.sizes.n_boot, groups=groups)
            rows.append([e.name, measure, *order, against_zero(difference, 3)])
    return rows


def _opposing_section(results: Results) -> Section:
    rows = [
        [o.edit, o.method, against_zero(o.target, 3), against_zero(o.off_target, 3), against_zero(o.selectivity, 1)]
        for o in results.opposing
    ]
    rows.sort(key=lambda row: [e.name for e in results.protocol.edits].index(row[0]))
    header = ["edit", "method", "target rises more by", "others change more by", "selectivity is higher by"]
    note = "With the opposing tag minus without it, at the same strength, over the same pictures that lack the tag."
    return Section("Does the opposing tag help?", tables=[Table(header, rows, note)] if rows else [])


def _curve_section(results: Results) -> Section:
    """How many pictures carry the tag at each strength."""
    rows, figures = [], []
    for e in results.protocol.edits:
        lines = {}
        for finder, c in results.curves.items():
            if e.name not in c.labels:
                continue
            i = c.labels.index(e.name)
            lines[finder] = (c.strengths, c.share.value[i], c.share.low[i], c.share.high[i])
            half = cell(c.half[i], 2) or f"not up to {c.strengths[-1]:g} σ"
            rows.append([e.name, finder, cell(c.area[i], 2), half, cell(c.selectivity_at(0.5)[i], 3) or "not reached"])
        if lines:
            caption = f"{e.name}: share of the pictures without {e.positive} that carry it at each strength, 95 % bands"
            figures.append(Figure(curve_plot(lines, "strength in σ", "share with the tag"), caption))
    header = ["edit", "finder", "area", "half of the pictures at", "others change when the target rises by 0.5"]
    note = (
        "On pictures that lack the tag, with the opposing tag at a third. Area: mean share over the strengths, 1 at "
        "best. The last column compares finders at the same effect: lower is better."
    )
    return Section("Curves over strength", figures=figures, tables=[Table(header, rows, note)] if rows else [])


def _dependency_section(results: Results) -> Section:
    tables, rows = [], []
    for e in results.protocol.edits:
        for finder, d in results.dependency.items():
            if e.name in d.labels:
                i = d.labels.index(e.name)
                cells = [cell(one[i], 2) or "not reached" for one in (d.mean_ad_at, d.max_ad_at)]
                rows.append([e.name, finder, *cells])
    if rows:
        note = (
            "How many of their standard deviations the other attributes' logits move by when the target's has moved by "
            "one (Wu, Lischinski & Shechtman, StyleSpace, 2021). Lower is better."
        )
        tables.append(Table(["edit", "finder", "mean-AD", "max-AD"], rows, note))
    if results.dci:
        rows = [[finder, *(f"{value:.2f}" for value in values)] for finder, values in results.dci.items()]
        note = "Of the codes' places along the directions that all finders have (Eastwood & Williams, 2018)."
        tables.append(Table(["finder", "disentanglement ↑", "completeness ↑", "informativeness ↑"], rows, note))
    return Section("Attribute dependency and DCI", tables=tables)


def _pictures(study: Study, measured: Measured) -> list[Section]:
    """The same faces under every method: what the numbers are about."""
    p, figures = measured.protocol, []
    faces = study.faces(SHOWN).prepare(study.generator, batch_size=study.batch_size)
    seeds, moves = faces.faces.seeds, study.moves("rescoring", measured.banks)
    for e in p.edits:
        labels = [m.name for m in p.methods_of("rescoring") if e.name in edits_of(p, measured.banks[m.finder])]
        rows = [faces.pictures(), *(faces.pictures(moves[f"{name}/{e.name}"](faces.all_codes())) for name in labels)]
        sheet = grid(torch.cat(rows), len(seeds), row_labels=["unedited", *labels])
        away = f" − {e.negative}" if e.negative else ""
        figures.append(Figure(sheet, f"{e.name}: + {e.positive}{away}"))
    return [Section("The pictures", f"Seeds {seeds[0]} to {seeds[-1]}.", figures=figures)]


def _least_natural(study: Study, measured: Measured, results: Results) -> list[Section]:
    """Of every edit by every method, the faces that it makes least natural: what a mean does not show."""
    p, figures = measured.protocol, []
    faces = study.faces(p.sizes.rescoring_pictures).prepare(study.generator, batch_size=1)
    moves = study.moves("rescoring", measured.banks)
    for e in p.edits:
        rows, labels = [], []
        for method, (opposed, _) in results.rescorings.items():
            i = opposed.labels.index(e.name) if e.name in opposed.labels else -1
            seen = [one for one in opposed.natural(i).values() if one.reference] if i >= 0 else []
            if not seen:
                continue
            worst = np.flatnonzero(opposed.rows(i))[seen[0].worst(SHOWN)]
            places = [slice(int(place), int(place) + 1) for place in worst]
            rows += [faces.decode(faces.codes(place), place) for place in places]
            rows += [faces.decode(moves[f"{method}/{e.name}"](faces.codes(place)), place) for place in places]
            labels += ["unedited", method]
            columns = len(places)  # the same for all: it is the unedited faces that lack the tag
        if rows:
            figures.append(Figure(grid(torch.cat(rows).cpu(), columns, row_labels=labels), e.name))
    network = next(iter(networks_of(opposed for opposed, _ in results.rescorings.values())), "")
    text = f"The faces that each method makes least natural, by {network}; the worst on the left."
    return [Section("The least natural pictures", text, figures=figures)] if figures else []


def _provenance(results: Results) -> Section:
    """What every number depends on."""
    rows: list[Sequence[str]] = []
    for key, value in results.provenance.items():
        if isinstance(value, dict):
            rows += [
                [f"{key}: {k}", json.dumps(v) if isinstance(v, (dict, list)) else str(v)] for k, v in value.items()
            ]
        else:
            rows.append([key, str(value)])
    shown = [[name, text if len(text) < 120 else text[:117] + "..."] for name, text in rows]
    return Section("What every number depends on", tables=[Table(["", ""], shown, "In full: results.json.")])


def _summary(results: Results) -> str:
    s = results.protocol.sizes
    return (
        f"{s.samples} samples of {results.provenance['generator']['name']}; {len(results.protocol.methods)} methods; "
        f"every number with a 95 % interval ({s.n_boot} resamplings of the pictures)."
    )
