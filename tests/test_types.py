"""What type checkers and editors know of the public names: the README's program by ``mypy --strict``."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import latentedit

ROOT = Path(__file__).parent.parent
REVEALED = {
    'le.load_generator("avatar")': "latentedit.generators.base.Generator",
    'le.load_tagger("avatar")': "latentedit.taggers.base.Tagger",
    'le.sample(generator, "samples", tagger=tagger, n=3)': "latentedit.samples.store.Samples",
    'le.open_samples("samples")': "latentedit.samples.store.Samples",
    "le.tag(samples, generator, tagger)": "latentedit.samples.store.Samples",
    "le.Moments.from_samples(samples)": "latentedit.directions.moments.Moments",
    'le.fit_directions(samples, finder="lasso")': "latentedit.directions.bank.DirectionBank",
    'bank["smile"]': "latentedit.directions.direction.Direction",
    "le.load_default(generator)": "latentedit.directions.bank.DirectionBank | latentedit.prior.prior.Prior",
    "le.Prior.load_default(generator)": "latentedit.prior.prior.Prior",
    "le.Settled(bank, le.Prior.load_default(generator))": "latentedit.prior.settled.Settled",
    "le.Transport.fit(samples)": "latentedit.prior.transport.Transport",
    'le.Edit.parse("long_hair=2")': "latentedit.directions.edits.Edit",
    "le.Faces(seeds=range(3))": "latentedit.editing.faces.Faces",
    'le.Recipe.load("edit-smile.png")': "latentedit.editing.recipe.Recipe",
    'le.edit(codes, bank, "long_hair")': "torch._tensor.Tensor",
    'le.rescore(generator, tagger, bank, ["smile"], range(3))': "latentedit.metrics.rescoring.Rescoring",
    "le.evaluate()": "latentedit.study.results.Results",
    'le.TagPair("smile", "frown")': "latentedit.directions.pairs.TagPair",
}


@pytest.mark.slow
def test_types_reach_the_user(tmp_path):
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    lines = [*example.splitlines(), *(f"reveal_type({call})" for call in REVEALED), "le.no_such_name"]
    (tmp_path / "example.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "example.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    revealed = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert dict(zip(REVEALED, revealed, strict=True)) == REVEALED, done.stdout + done.stderr
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1 and 'has no attribute "no_such_name"' in errors[0], done.stdout


def test_type_checkers_and_python_know_the_same_names():
    tree = ast.parse(Path(latentedit.__file__).read_text(encoding="utf-8"))
    (checked,) = (one for one in tree.body if isinstance(one, ast.If) and isinstance(one.test, ast.Name))
    told = {alias.asname: line.module for line in checked.body for alias in line.names}
    assert told == {name: f"latentedit.{home}" for name, home in latentedit._HOME.items()}
