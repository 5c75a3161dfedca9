"""Would a person accept the edits? Every measure of ten tags, for a line and whatever else edits. Prints a table.

    python benchmarks/natural_edits.py [FILE ...] [--settled PRIOR] [--transport SAMPLES] [--json OUT]
    python benchmarks/natural_edits.py FILE ... --generator NAME --judge NAME --tags TAG ...

FILE is an editor's file, of fit-directions or fit-prior; without one, what ships: lines, and the prior. Faces of seeds
from 900,000 on, which nothing was fitted on or chosen by, judged by `judge:avatar`; with `--choose`, faces of seeds
from 60,000 on and the tagger, by which variants may be chosen.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import latentedit as le
from latentedit.editing.editors import open_editor
from latentedit.files import jsonable
from latentedit.metrics import draw_own, natural_networks
from latentedit.metrics.axioms import check_axioms
from latentedit.metrics.elsewhere import rows_of

TAGS = (
    "long_hair", "short_hair", "open_mouth", "closed_mouth", "closed_eyes", "open_eyes", "glasses", "blue_hair",
    "blonde_hair", "red_hair",
)  # fmt: skip
LOCAL = ("open_mouth", "closed_mouth", "closed_eyes", "open_eyes", "glasses")


def editors(options: argparse.Namespace, generator: Any) -> dict[str, Any]:
    found: dict[str, Any] = {str(path): open_editor(path) for path in options.files}
    if not found:
        found = {"line": le.DirectionBank.load_default(generator), "prior": le.load_default(generator)}
    if options.settled:
        lines = next(one for one in found.values() if isinstance(one, le.DirectionBank))
        found["line, settled"] = le.Settled(lines, le.Prior.load(options.settled))
    if options.transport:
        found["Gaussian transport"] = le.Transport.fit(options.transport, layers=generator.layers)
    return found


def rows(r: Any, height: int) -> list[dict[str, Any]]:
    """What is known of each tag."""
    found = []
    for i, tag in enumerate(r.targets):
        s = r.summary(i, among="lacking")
        worst = r.worst_other(i, among="lacking")
        top = r.elsewhere(i, region=rows_of(height, height, 0, height * 40 // 128))
        found.append({
            "tag": tag, "pictures": s.pictures, "rise": s.target, "ceiling": s.ceiling,
            "reached": s.target.value / s.ceiling.value, "others": s.off_target,
            "one_other": None if worst is None else worst[0],
            "one_other_changes": None if worst is None else worst[1].value,
            "natural": s.natural, "top_rows": top.mean, "top_rows_too_much": top.too_much,
            "elsewhere": s.elsewhere, "elsewhere_too_much": s.too_much,
        })  # fmt: skip
    return found


def whole(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The ten in one line."""
    networks = list(found[0]["natural"])
    natural: dict[str, list[float]] = {
        n: [float(one["natural"][n]["natural"].value) for one in found if n in one["natural"]] for n in networks
    }
    gaps = [one["natural"][n]["gap"].value for one in found for n in networks if n in one["natural"]]
    top = [one["top_rows_too_much"].value for one in found if one["tag"] in LOCAL]
    return {
        "reached_mean": float(np.mean([one["reached"] for one in found])),
        "reached_worst": min(one["reached"] for one in found),
        "others_mean": float(np.mean([one["others"].value for one in found])),
        "one_other_most": max(one["one_other_changes"] for one in found),
        "natural_median": {n: float(np.median(values)) for n, values in natural.items()},
        "natural_worst": {n: float(min(values)) for n, values in natural.items()},
        "gap_worst": float(np.nanmax(gaps)) if np.isfinite(gaps).any() else None,
        "top_rows_too_much_mean": float(np.mean(top)) if top else None,
        "top_rows_too_much_worst": float(max(top)) if top else None,
    }


def speed(editor: Any, generator: Any) -> float:
    """Time of an edit of 64 codes over that of decoding them; medians of 9 in turn."""
    codes = generator.sample_codes(range(64))
    took: dict[str, list[float]] = {"edit": [], "decode": []}
    for _ in range(10):
        for name in took:
            started = time.perf_counter()
            editor.edit(codes, editor.tags[0]) if name == "edit" else generator.decode(codes)
            took[name].append(time.perf_counter() - started)
    return float(np.median(took["edit"][1:]) / np.median(took["decode"][1:]))


def show(name: str, found: list[dict[str, Any]], summary: Mapping[str, Any]) -> None:
    print(f"\n{name}: " + ", ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in summary.items()))
    for one in found:
        natural = "  ".join(
            f"{n} {v['natural'].value:.2f} matched {v['matched'].value:.2f} gap {v['gap'].value:.2f}"
            for n, v in one["natural"].items()
        )
        print(
            f"  {one['tag']:13s} rise {one['rise'].value:.2f} of {one['ceiling'].value:.2f} ({one['reached']:.2f})  "
            f"others {one['others'].value:.4f}, {one['one_other']} {one['one_other_changes']:.3f}  {natural}  "
            f"top {one['top_rows'].value:.3f} > .08: {one['top_rows_too_much'].value:.2f}  "
            f"elsewhere {one['elsewhere'].value:.3f} > .08: {one['elsewhere_too_much'].value:.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--settled", type=Path)
    parser.add_argument("--transport", type=Path)
    parser.add_argument("--generator", default="avatar")
    parser.add_argument("--judge", help="[default: judge:avatar, or avatar with --choose]")
    parser.add_argument("--tags", nargs="+", default=TAGS)
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--own", type=int, default=6_000)
    parser.add_argument("--axioms", action="store_true")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    generator = le.load_generator(options.generator)
    judge = le.load_tagger(options.judge or ("avatar" if options.choose else "judge:avatar"))
    first = 60_000 if options.choose else 900_000
    faces = le.Faces(seeds=range(first, first + options.count))
    networks, note = natural_networks(judge)
    if note:
        print(note)
    seed = 70_000 if options.choose else 2_000_000
    own = draw_own(generator, judge, options.tags, faces, networks=networks, most=options.own, seed=seed)
    print(f"{len(own)} own pictures", flush=True)
    document: dict[str, Any] = {}
    edits = [le.Edit(tag) for tag in options.tags]
    for name, editor in editors(options, generator).items():
        r = le.rescore(generator, judge, editor, edits, faces, own=own)
        found = rows(r, generator.resolution)
        document[name] = {"tags": found, "all": whole(found)}
        if options.speed:
            document[name]["all"]["edit_over_decode"] = speed(editor, generator)
        if options.axioms:
            a = check_axioms(generator, judge, editor, edits, faces)
            document[name]["axioms"] = a.numbers()
            document[name]["all"] |= {
                "jump": float(np.max(a.jump)), "exact": bool(a.exact.all()), "back": float(np.mean(a.back.value)),
                "back_worst": float(np.max(a.back.value)), "in_a_row_worst": float(np.min(a.row_scores.value)),
                "cld": float(np.mean(a.cld.value)),
            }  # fmt: skip
        show(name, found, document[name]["all"])
        if options.json:
            options.json.write_text(json.dumps(jsonable(document), indent=1))


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
