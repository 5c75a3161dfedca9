"""What do the directions do? Prints JSON: per finder, strength and edit, with and without the opposite.

    python benchmarks/edits.py SAMPLES [--finders lasso svd] [--strengths 2 3 4]

SAMPLES is a folder of `latentedit sample`. 200 seeds from 1,000,000 on, which no direction was
fitted on; each edit on the pictures that lack its tag, `red_hair` on those with black hair. Means over pictures, each
with the ends of its 95 % interval.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import latentedit as le
from latentedit.directions.moments import Moments
from latentedit.files import jsonable

EDITS = {"long_hair": None, "open_mouth": None, "closed_eyes": None, "red_hair": "black_hair"}
SEEDS = range(1_000_000, 1_000_200)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("samples", type=Path)
    parser.add_argument("--finders", nargs="+", default=["linear", "lasso", "svd", "sefa"])
    parser.add_argument("--strengths", nargs="+", type=float, default=[3.0])
    options = parser.parse_args()
    generator, tagger = le.load_generator("avatar"), le.load_tagger("avatar")
    moments = Moments.from_samples(le.open_samples(options.samples))
    for finder in options.finders:
        bank = le.fit_directions(moments, finder=finder, generator=generator)
        for strength in options.strengths:
            for opposite in ("auto", None):
                for tag, against in EDITS.items():
                    if tag not in bank or (against and against not in bank):
                        continue
                    what = le.Edit(tag, strength, opposite=opposite and (against or opposite))
                    r = le.rescore(generator, tagger, bank, what, SEEDS)
                    s = r.summary(0, among="lacking", having=against)
                    worst = r.worst_other(0, among="lacking", having=against)
                    row = {
                        "finder": finder, "strength": strength, "edit": tag, "opposite": opposite is not None,
                        "pictures": s.pictures, "target_rises_by": s.target, "others_change_by": s.off_target,
                        "selectivity": s.selectivity, "worst_other": None if worst is None else worst[0],
                        "worst_other_changes_by": None if worst is None else worst[1],
                    }  # fmt: skip
                    print(json.dumps(jsonable(row)), flush=True)


if __name__ == "__main__":
    main()
