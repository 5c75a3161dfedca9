"""Code of a user's own generator or tagger that changes between two commands, while its tensors stay."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from toy import ToyGenerator

import latentedit as le
from latentedit.samples.manifest import NAME

GENERATOR = """
import torch
from torch import nn

class Paint(nn.Module):
    dim = 6

    def __init__(self):
        super().__init__()
        self.paint = nn.Linear(6, 3 * 16)
        with torch.no_grad():
            self.paint.weight.copy_(torch.linspace(-3, 3, 6 * 48).sin().reshape(48, 6))
            self.paint.bias.zero_()

    def decode(self, codes):
        return torch.tanh({gain} * self.paint(codes)).reshape(-1, 3, 4, 4)

generator = Paint
"""
TAGGER = """
import torch

class Light:
    tags = {tags}

    def score(self, images):
        top, bottom = images[:, :, :2].mean((1, 2, 3)), images[:, :, 2:].mean((1, 2, 3))
        return torch.sigmoid({gain} * torch.stack([top, bottom, top - bottom], 1))[:, :len(self.tags)]

tagger = Light
"""
G, T = "torch:painting:generator", "torch:light:tagger"
TAGS = "('top', 'bottom')"
Run = Callable[..., tuple[int, str, str]]


def write(module: str, text: str) -> None:
    """Put a module into the working directory, as a new process would import it."""
    Path(f"{module}.py").write_text(text)
    sys.modules.pop(module, None)
    sys.dont_write_bytecode = True  # the same second and size would read the bytecode of the old text


@pytest.fixture
def fitted(run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A folder with modules, samples of them, and directions."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write("painting", GENERATOR.format(gain=1))
    write("light", TAGGER.format(tags=TAGS, gain=6))
    for command in (("sample", "--generator", G, "--tagger", T, "-n", 120), ("fit-directions", "--finder", "linear")):
        code, _, err = run(*command)
        assert code == 0 and "probe" not in err and "changed" not in err, err
    yield run
    for module in ("painting", "light"):
        sys.modules.pop(module, None)


def scores() -> np.ndarray:
    samples = le.open_samples("samples")
    return np.stack([samples.scores(tag) for tag in samples.tags()], 1)


def edit(*options: object) -> tuple[object, ...]:
    return ("edit", "--tag", "top", "-n", 1, "--generator", G, "--out", "edited.png", "--force", *options)


def test_the_same_code_goes_on_without_a_word(fitted: Run) -> None:
    for command in (
        ("sample", "--generator", G, "--tagger", T, "-n", 140),
        ("tag", "samples", "--generator", G, "--tagger", T),
        edit("--directions", "directions/linear.safetensors"),
        edit(),
    ):
        code, out, err = fitted(*command)
        assert code == 0 and "probe" not in out + err and "changed" not in out + err, err
    assert len(scores()) == 140


@pytest.mark.parametrize(("tags", "gain"), [(TAGS, 2), ("('top', 'bottom', 'slope')", 6)])
def test_a_mended_tagger_tags_anew_and_is_never_mixed(tags: str, gain: float, fitted: Run) -> None:
    before = scores()
    write("light", TAGGER.format(tags=tags, gain=gain))
    code, _, err = fitted("sample", "--generator", G, "--tagger", T, "-n", 150)
    assert code == 1 and err.count("error: ") == 1 and "its code has changed since" in err
    assert "latentedit tag samples --tagger" in err
    np.testing.assert_array_equal(scores(), before)
    code, out, err = fitted("tag", "samples", "--generator", G, "--tagger", T)
    assert code == 0 and "its code has changed since; all rows are tagged anew" in err
    generator, tagger = le.load_generator(G), le.load_tagger(T)
    known = tagger.score(generator.decode(generator.sample_codes(range(120)))).numpy()
    np.testing.assert_allclose(scores(), known, atol=1e-3)
    code, _, err = fitted("tag", "samples", "--generator", G, "--tagger", T)
    assert code == 0 and "anew" not in err
    assert fitted("sample", "--generator", G, "--tagger", T, "-n", 150)[0] == 0


def test_pictures_in_another_dtype_do_not_accuse_the_tagger(fitted: Run) -> None:
    """bfloat16 moves this tagger's scores by more than 0.01, for its gain is 40."""
    write("light", TAGGER.format(tags=TAGS, gain=40))
    sample = ("sample", "halves", "--generator", G, "--tagger", T, "--quiet")
    assert fitted(*sample, "-n", 12)[0] == 0
    code, _, err = fitted(*sample, "-n", 20, "--dtype", "bfloat16")
    assert code == 0 and len(le.open_samples("halves")) == 20, err
    write("light", TAGGER.format(tags=TAGS, gain=30))
    code, _, err = fitted(*sample, "-n", 30, "--dtype", "bfloat16")  # the shard is of this dtype by now
    assert code == 1 and "code has changed" in err, err


def test_tags_of_others_stay_and_the_order_does(fitted: Run) -> None:
    write("other", TAGGER.format(tags="('high', 'low')", gain=3) + "\nLight.id = 'other:1'\n")
    assert fitted("tag", "samples", "--generator", G, "--tagger", "torch:other:tagger")[0] == 0
    samples = le.open_samples("samples")
    kept = samples.scores("high", "other:1")
    write("light", TAGGER.format(tags=TAGS, gain=2))
    assert fitted("tag", "samples", "--generator", G, "--tagger", T)[0] == 0
    again = le.open_samples("samples")
    assert again.taggers == samples.taggers
    np.testing.assert_array_equal(again.scores("high", "other:1"), kept)
    sys.modules.pop("other", None)


def test_a_mended_generator_is_refused_everywhere(fitted: Run) -> None:
    write("painting", GENERATOR.format(gain=0.8))
    for command, advice in (
        (("sample", "--generator", G, "--tagger", T, "-n", 150), "sample into another folder"),
        (("tag", "samples", "--generator", G, "--tagger", T), "sample into another folder"),
        (edit("--directions", "directions/linear.safetensors"), "fit them again"),
        (edit(), "fit them again"),
        (("fit-directions", "--finder", "linear", "--force"), ""),
        (("fit-prior", "--generator", G), "sample into another folder"),
    ):
        code, _, err = fitted(*command)
        if not advice:
            assert code == 0, "samples alone are as good as they were"
            continue
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert code == 1 and len(errors) == 1 and "its code has changed since" in errors[0], err
        assert advice in errors[0]
    assert fitted("sample", "elsewhere", "--generator", G, "--tagger", T, "-n", 10)[0] == 0


def test_files_without_a_probe_are_taken_with_a_line(fitted: Run) -> None:
    manifest = Path("samples") / NAME
    document = json.loads(manifest.read_text())
    assert len(document.pop("generator_probe")) < 5000
    manifest.write_text(json.dumps(document))
    code, _, err = fitted("sample", "--generator", G, "--tagger", T, "-n", 140)
    assert code == 0 and "no probe of torch:" in err and err.count("is kept with samples, so") == 1
    bank = le.DirectionBank.load("directions/linear.safetensors")
    bank.generator_probe = None
    bank.save("old.safetensors")
    code, _, err = fitted(*edit("--directions", "old.safetensors"))
    assert code == 0 and err.count("is kept with these directions, so") == 1


def test_what_needs_no_probe_keeps_none(tmp_path: Path) -> None:
    generator = ToyGenerator()
    le.sample(generator, tmp_path / "samples", n=2)
    assert json.loads((tmp_path / "samples" / NAME).read_text())["generator_probe"] is None
    le.fit_directions(generator, finder="sefa?k=1").save(tmp_path / "sefa.safetensors")
    with safe_open(tmp_path / "sefa.safetensors", framework="np") as file:
        assert "generator_probe" not in file.metadata()
