"""A researcher's first afternoon, from outside: a small VAE and a tagger of one's own, labels in a table, directions in
an array; every number against a few lines of numpy and scikit-learn.
"""

from __future__ import annotations

import json
import textwrap

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

import latentedit as le
from latentedit.generators.vae import write_vae

Z, ROWS = 6, 240
TAGGER = "torch:ink:tagger"
GENERATOR = "vae:digits.safetensors"
INK = '''
    """How much ink a digit has, and how it leans: measured, not learned."""

    import torch


    class Ink:
        tags = ("bold", "slanted")
        threshold = 0.5

        def score(self, images):
            """Pictures (n, 3, H, W) in [-1, 1] to scores (n, 2) in [0, 1]."""
            ink = (images[:, 0] + 1) / 2  # (n, H, W)
            total = ink.sum((1, 2)) + 1e-6
            y, x = (torch.arange(ink.shape[i]) - (ink.shape[i] - 1) / 2 for i in (1, 2))
            lean = -(ink * y[:, None] * x).sum((1, 2)) / total
            return torch.sigmoid(torch.stack([(ink.mean((1, 2)) - 0.3) * 40, (lean - 0.4) * 4], 1))


    def tagger():
        return Ink()
'''


@pytest.fixture(scope="module")
def decoder() -> nn.Sequential:
    """A decoder of scikit-learn's handwritten digits, 8 x 8, with the usual sigmoid at its end.

    Of the logits of the pictures it is the linear VAE, whose optimum is known: Tipping & Bishop's probabilistic PCA
    (1999), equation 15.
    """
    pictures = (load_digits().images.reshape(-1, 64) / 16).clip(0.03, 0.97)
    logits = np.log(pictures / (1 - pictures))
    values, vectors = np.linalg.eigh(np.cov(logits.T))
    noise = values[:-Z].mean()
    linear = nn.Linear(Z, 64)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(vectors[:, -Z:] * np.sqrt(values[-Z:] - noise)))
        linear.bias.copy_(torch.from_numpy(logits.mean(0)))
    return nn.Sequential(linear, nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8))).eval()


@pytest.fixture
def day(run, decoder, tmp_path, monkeypatch):
    """A folder with the generator and the tagger, and what runs a command there: gives (stdout, stderr)."""
    (tmp_path / "ink.py").write_text(textwrap.dedent(INK), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    write_vae(tmp_path / "digits.safetensors", decoder, range="0..1")

    def call(*arguments: object) -> tuple[str, str]:
        code, out, err = run(*arguments)
        assert code == 0, err
        return out, err

    call.fails = run
    yield call
    monkeypatch.delitem(__import__("sys").modules, "ink", raising=False)


def unit(vector):
    return vector / np.linalg.norm(vector)


def pictures_of(decoder, codes):
    """What the decoder draws, as PyTorch does it: (n, 3, 8, 8) in [-1, 1]."""
    with torch.no_grad():
        return decoder(torch.as_tensor(codes, dtype=torch.float32)).repeat(1, 3, 1, 1) * 2 - 1


def scores_of(decoder, codes):
    """What the tagger says of these pictures, rounded to 8 bits as a PNG file holds them."""
    import ink

    eight = ((pictures_of(decoder, codes) + 1) * 127.5).round() / 127.5 - 1
    return ink.tagger().score(eight).numpy()


def test_sample_fit_edit_and_re_score(day, decoder):
    day("sample", "--generator", GENERATOR, "--tagger", TAGGER, "-n", ROWS)
    out, _ = day("fit-directions", "--finder", "linear", "--tag", "bold", "--tag", "slanted", "--json")
    assert json.loads(out)["tags"] == ["bold", "slanted"]

    # Codes, scores and directions, by numpy and scikit-learn.
    x = np.stack([np.random.RandomState(s).randn(1, Z)[0] for s in range(ROWS)])
    y = scores_of(decoder, x)
    stored = le.open_samples("samples")
    tables = pd.read_parquet("samples/tags")
    for j, tag in enumerate(("bold", "slanted")):
        assert np.allclose(stored.scores(tag), np.where(y[:, j] > 0.01, y[:, j], 0), atol=1e-3)
        assert [tag in present for present in tables.present] == (y[:, j] >= 0.5).tolist()
    fitted = LinearRegression().fit(x, y >= 0.5).coef_  # (2, Z)
    bank = le.DirectionBank.load("directions/linear.safetensors")
    for tag, coefficients in zip(("bold", "slanted"), fitted, strict=True):
        assert bank[tag].vector.numpy() @ unit(coefficients) > 0.99999
        assert bank[tag].sigma == pytest.approx((x @ unit(coefficients)).std(), rel=1e-3)

    # An edit: the newest file in ./directions, a picture and a code a face.
    out, _ = day("edit", "--tag", "bold=2", "--seeds", "3,7", "--out", "faces/", "--json")
    assert json.loads(out)["file"] == "directions/linear.safetensors"
    for s in (3, 7):
        moved = x[s] + 2 * bank["bold"].sigma * unit(fitted[0])
        assert np.allclose(np.load(f"faces/seed-{s}.npy").ravel(), moved, atol=1e-4)
        drawn = np.asarray(Image.open(f"faces/seed-{s}.png")).astype(float)
        wanted = ((pictures_of(decoder, moved[None])[0] + 1) * 127.5).permute(1, 2, 0).numpy()
        assert np.abs(drawn - wanted).max() <= 1

    # Re-scoring: no judge ships, the one that fitted is code, so it is named; the matrix is what numpy says.
    code, _, err = day.fails("evaluate", "rescoring", "--tag", "bold=2", "-n", 30)
    assert code == 1 and f"--judge '{TAGGER}'" in err
    out, err = day("evaluate", "rescoring", "--tag", "bold=2", "-n", 30, "--judge", TAGGER, "--natural", 0, "--json")
    assert "flatters" in err
    fresh = np.stack([np.random.RandomState(1_000_000 + s).randn(1, Z)[0] for s in range(30)])
    change = scores_of(decoder, fresh + 2 * bank["bold"].sigma * unit(fitted[0])) - scores_of(decoder, fresh)
    assert np.allclose(json.loads(out)["mean"][0], change.mean(0), atol=2e-3)


def test_directions_of_ones_own_in_an_array(day, decoder):
    rows = np.random.RandomState(5).randn(2, Z).astype(np.float32)
    np.save("mine.npy", rows)
    code, _, err = day.fails("edit", "--tag", "bold", "--directions", "mine.npy")
    assert code == 1 and "latentedit convert" in err and "damaged" not in err
    named = ("--tag", "rounder", "--tag", "taller")
    day("convert", "mine.npy", "mine.safetensors", "--generator", GENERATOR, *named)
    bank = le.DirectionBank.load("mine.safetensors")
    for tag, row in zip(("rounder", "taller"), rows, strict=True):
        assert bank[tag].vector.numpy() @ unit(row) == pytest.approx(1, abs=1e-6)
        assert bank[tag].sigma == pytest.approx(1, abs=0.05)  # codes of this generator are normal
    out, _ = day(
        "edit", "--tag", "taller=1", "--directions", "mine.safetensors", "--seed", 4, "-n", 1, "--out", "t.png"
    )
    day("edit", "--recipe", "t.png", "--out", "again.png")
    assert open("t.png", "rb").read() == open("again.png", "rb").read()
    assert Image.open("t.png").width > 64  # small pictures are enlarged


def test_labels_in_a_table(day, decoder):
    """Classes and yes or no, some cells empty: a direction of a class, and one of a tag that half the rows have."""
    day("sample", "--generator", GENERATOR, "--tagger", "none", "-n", ROWS, "--images", "to-label")
    x = np.stack([np.random.RandomState(s).randn(1, Z)[0] for s in range(ROWS)])
    bold = scores_of(decoder, x)[:, 0] >= 0.5
    seen = np.stack([np.asarray(Image.open(f"to-label/{s}.png").convert("L")) for s in range(ROWS)]).reshape(ROWS, -1)
    known = load_digits()
    digit = KNeighborsClassifier(3).fit(known.images.reshape(-1, 64) / 16 * 255, known.target).predict(seen)
    labels = pd.DataFrame({"filename": [f"{s}.png" for s in range(ROWS)], "digit": digit, "bold": bold.astype(int)})
    labels.loc[1::2, "bold"] = np.nan
    labels.to_csv("labels.csv", index=False)
    day("tag", "--tagger", "csv:labels.csv", "--generator", GENERATOR)
    common = int(np.bincount(digit).argmax())
    _, err = day("fit-directions", "--finder", "linear", "--tag", f"digit={common}", "--tag", "bold")
    assert f"{ROWS // 2}" in err and "bold" in err  # how many rows have a label of it
    bank = le.DirectionBank.load("directions/linear.safetensors")
    whole = LinearRegression().fit(x, digit == common).coef_
    assert bank[f"digit={common}"].vector.numpy() @ unit(whole) > 0.99999
    half = slice(0, None, 2)
    s_xx = np.cov(x.T, bias=True)
    c_xy = np.mean((x[half] - x[half].mean(0)) * (bold[half] - bold[half].mean())[:, None], 0)
    assert bank["bold"].vector.numpy() @ unit(np.linalg.solve(s_xx, c_xy)) > 0.999
    assert bank["bold"].vector.numpy() @ unit(LinearRegression().fit(x[half], bold[half]).coef_) > 0.9


def test_mistakes_are_one_line_and_lose_nothing(day, tmp_path):
    day("sample", "--generator", GENERATOR, "--tagger", TAGGER, "-n", 40)
    kept = sorted(path.read_bytes() for path in tmp_path.rglob("*.parquet"))
    for arguments, told in (
        (("fit-directions", "--tag", "bolt"), "bold"),
        (("tag", "--tagger", "csv:none.csv", "--generator", GENERATOR), "none.csv"),
        (("edit", "--tag", "bold", "--generator", GENERATOR, "--out", "x.xyz"), ".png"),
        (("sample", "--generator", GENERATOR, "--tagger", TAGGER, "-n", 40, "--truncation", 0.5), "truncation"),
        (("evaluate", "rescoring", "--generator", GENERATOR), "no directions"),
        (("edit", "--recipe", "none.json"), "no such file"),
    ):
        code, out, err = day.fails(*arguments)
        assert code in (1, 2) and not out and told in err and "Traceback" not in err, (arguments, err)
    assert kept == sorted(path.read_bytes() for path in tmp_path.rglob("*.parquet"))
