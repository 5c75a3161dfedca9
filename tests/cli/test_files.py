"""``info``, ``convert`` and ``edit`` on generators that are read from files, from outside."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import omniart
import pytest
import torch
from conformance import checkpoint
from PIL import Image
from torch import nn

from latentedit.editing.editors import open_editor
from latentedit.errors import LatentEditError
from latentedit.generators.vae import write_vae

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of checkpoints."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("gansnroses", "stylegan2_ada", "sefa_stylegan"):
        checkpoint(name, folder)
    return folder


@pytest.fixture
def vae(tmp_path: Path) -> str:
    """A tiny generator, as commands take it."""
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(6, 3 * 16 * 16), nn.Tanh(), nn.Unflatten(1, (3, 16, 16)))
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 12))
    write_vae(tmp_path / "vae.safetensors", decoder, encoder=encoder, range="-1..1")
    return "vae:vae.safetensors"


def test_info_finds_out_what_a_file_is(run: Run, files: Path) -> None:
    code, out, err = run("info", files / "gansnroses.pt")
    assert code == 0, err
    assert out.startswith(f"gnr:{files}/gansnroses.pt: a generator of GANs N' Roses (G_A2B_ema), torch zip\n")
    for words in ("64 x 64", "z 8, style code 512, 12 slots", "46.17 M, 184.7 MB", "gnr:", "to_rgbs.2"):
        assert words in out
    named, _, _ = run("info", f"nvlabs:{files}/stylegan2_ada.pt?conv_clamp=none")
    assert named == 0
    code, out, _ = run("info", f"{files}/stylegan2_ada.pt?conv_clamp=none")  # options need no kind
    assert code == 0 and out.startswith(f"nvlabs:{files}/stylegan2_ada.pt?conv_clamp=none: NVIDIA's StyleGAN2-ADA")
    assert run("info", f"{files}/stylegan2_ada.pt?labels=3")[0] == 1


def test_info_for_machines(run: Run, files: Path) -> None:
    code, out, _ = run("info", files / "sefa_stylegan.pt", "--json")
    document = json.loads(out)
    assert code == 0 and document["name"] == f"genforce:{files}/sefa_stylegan.pt"
    assert [layer["resolution"] for layer in document["layers"]] == [4, 4, 8, 8, 16, 16, 32, 32]
    assert document["parameters"] * 4 == document["memory"] and document["dim"] == 512
    assert sum(document["style_weights"].values()) == sum(layer["width"] for layer in document["layers"])


def test_info_on_generators_that_are_no_files(run: Run) -> None:
    code, out, _ = run("info", "avatar")
    assert code == 0 and "128 x 128" in out and "7 slots" in out and "avatar:37a0be3787ef" in out
    assert run("info", "torch:toy:ToyGenerator")[0] == 0


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pt", b"", "empty"),
        ("a.pt", b"<!DOCTYPE html><html><title>Sign in</title></html>", "Sign in"),
        ("a.pkl", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 363000000\n", "git lfs pull"),
    ],
)
def test_info_on_a_wrong_file_is_one_line(run: Run, tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    for asked in (name, f"stylegan2:{name}"):
        code, out, err = run("info", asked)
        assert code == 1 and out == "" and err.count("\n") == 1 and words in err


def test_a_file_of_another_family_says_which(run: Run, files: Path) -> None:
    code, _, err = run("sample", "--generator", f"stylegan2:{files}/gansnroses.pt", "--tagger", "none")
    assert code == 1 and f"write gnr:{files}/gansnroses.pt" in err and err.count("\n") == 1
    code, _, err = run("sample", "--generator", f"gnr:{files}/gansnroses.pt?size=256", "--tagger", "none")
    assert code == 1 and "no option size" in err


def test_sampled_fitted_and_edited_without_naming_the_generator_again(run: Run, vae: str) -> None:
    tagger = ("--tagger", "torch:toy:ToyTagger")
    assert run("sample", "s", "--generator", vae, *tagger, "--n", 400, "--quiet")[0] == 0
    code, out, err = run("fit-directions", "s", "--finder", "linear", "--json", "--quiet")
    assert code == 0, err
    tag = json.loads(out)["tags"][0]
    code, _, err = run("edit", "--tag", tag, "--directions", "directions/linear.safetensors", "-n", 2, "--quiet")
    assert code == 0, err
    assert Image.open(f"edit-{tag}.png").width > 32


def test_a_generator_that_is_code_is_not_loaded_on_a_files_word(run: Run) -> None:
    toy = ("--generator", "torch:toy:ToyGenerator")
    assert run("sample", "s", *toy, "--tagger", "torch:toy:ToyTagger", "--n", 300, "--quiet")[0] == 0
    assert run("fit-directions", "s", "--finder", "linear", "--quiet")[0] == 0
    edit = ("edit", "--tag", "red_hair", "--directions", "directions/linear.safetensors", "-n", 2)
    for command in (("tag", "s", "--tagger", "torch:toy:ToyTagger"), edit, ("fit-directions", "s", "--finder", "sefa")):
        code, _, err = run(*command)
        assert code == 1 and "which is code" in err and "--generator 'torch:toy:ToyGenerator'" in err
        code, _, err = run(*command, *toy, "--quiet")
        assert code == 0, err


def test_codes_and_directions_of_others(run: Run, vae: str) -> None:
    step = np.zeros((1, 6), np.float32)
    step[0, 2] = 2.0
    np.save("step.npy", step)
    code, _, err = run("convert", "step.npy", "bank.safetensors")
    assert code == 1 and "--generator" in err
    code, out, err = run("convert", "step.npy", "bank.safetensors", "--generator", vae, "--tag", "third", "--json")
    assert code == 0, err
    assert json.loads(out)["names"] == ["third"]
    code, _, err = run("convert", "step.npy", "bank.safetensors", "--generator", vae)
    assert code == 1 and "--force" in err
    assert run("convert", "bank.safetensors", "back.npy")[0] == 0
    assert np.array_equal(np.load("back.npy"), step)
    np.save("codes.npy", np.random.RandomState(0).randn(3, 1, 6).astype(np.float32))
    edit = ("edit", "--tag", "third", "--directions", "bank.safetensors", "--quiet")
    code, out, err = run(*edit, "--codes", "codes.npy", "--raw", "--strength", 1, "--json")
    assert code == 0, err
    assert json.loads(out)["moves"] == {"third": 1.0}
    np.save("wide.npy", np.zeros((3, 1, 7), np.float32))
    code, _, err = run(*edit, "--codes", "wide.npy", "--force")
    assert code == 1 and "(n, 6)" in err
    Image.new("RGB", (16, 16), "red").save("me.png")
    assert run(*edit, "--style", "me.png", "--out", "styled.png")[0] == 0
    assert run(*edit, "--style", "me.png", "--codes", "codes.npy", "--force")[0] == 2


def test_a_published_conditional_generator(run: Run) -> None:
    name = f"dcgan:{omniart.weight_file()}?labels=8"
    assert run("fit-directions", "--generator", name, "--finder", "sefa?k=2", "--quiet")[0] == 0
    edit = ("edit", "--tag", "sefa_00", "--directions", "directions/sefa.safetensors", "-n", 2, "--quiet")
    sheets = []
    for label in (1, 7):  # blue, red
        code, _, err = run(*edit, "--label", label, "--force")
        assert code == 0, err
        sheets.append(np.asarray(Image.open("edit-sefa_00.png").convert("RGB"), float))
    assert np.abs(sheets[0] - sheets[1]).mean() > 5
    code, _, err = run(*edit, "--label", 8, "--force")
    assert code == 1 and "classes 0 to 7" in err
    code, _, err = run(*edit, "--force", "--generator", name.replace("labels=8", "labels=4"))
    assert code == 1 and "fit" in err


def test_a_discriminator_is_not_taken_for_a_stack_of_layers(run: Run) -> None:
    torch.save({"b8.fromrgb.weight": torch.zeros(3, 3, 1, 1), "b4.out.weight": torch.zeros(1, 3)}, "d.pt")
    for asked in ("d.pt", "dcgan:d.pt", "nvlabs:d.pt"):
        code, _, err = run("info", asked)
        assert code == 1 and "a discriminator" in err and err.count("\n") == 1


def test_rows_are_asked_about_and_names_come_from_where_they_are(run: Run) -> None:
    toy = ("--generator", "torch:toy:ToyGenerator")  # two slots of 16
    two = np.random.default_rng(0).standard_normal((2, 16)).astype(np.float32)
    np.save("two.npy", two)
    code, out, err = run("convert", "two.npy", "bank.safetensors", *toy)
    assert (code, out, err.count("\n")) == (1, "", 1) and "--as directions or --as slots" in err
    code, out, err = run("convert", "two.npy", "bank.safetensors", *toy, "--as", "directions", "--json")
    assert code == 0 and json.loads(out)["names"] == ["two_00", "two_01"], err
    assert "called two_00 to two_01; give a tag for each" in err
    rows = [f"{name},{','.join(map(str, row))}" for name, row in zip(["smile", "age"], two.tolist(), strict=True)]
    Path("two.csv").write_text("\n".join(["name," + ",".join(f"w{i}" for i in range(16)), *rows]))
    code, out, err = run("convert", "two.csv", "two.npz", *toy, "--json", "--to", "named")
    assert code == 0 and json.loads(out)["names"] == ["smile", "age"] and err == ""
    assert list(np.load("two.npz")) == ["smile", "age"]
    np.testing.assert_allclose(np.load("two.npz")["age"], two[1], rtol=1e-6)


def test_directions_of_others_are_no_damaged_files(run: Run) -> None:
    row = np.ones((1, 16), np.float32)
    np.save("one.npy", row)
    np.savez("one.npz", smile=row)
    torch.save({"smile": torch.from_numpy(row)}, "one.pt")
    Path("one.pkl").write_bytes(pickle.dumps({"smile": row}))
    Path("one.csv").write_text("smile," + ",".join("1" * 16))
    np.save("three.npy", np.ones((2, 3, 16), np.float32))
    np.save("objects.npy", np.array({"boundary": row}, dtype=object))
    told = {
        "one.npy": "a NumPy file (.*; `latentedit convert` makes directions of it",
        "one.npz": "a NumPy archive (.*; `latentedit convert` makes directions of it",
        "one.pt": "a torch file (.*; `latentedit convert` makes directions of it",
        "one.pkl": "a pickle (.*; `latentedit convert` makes directions of it",
        "one.csv": "a table (.*; `latentedit convert` makes directions of it",
        "three.npy": "a NumPy file (style codes.*`edit --codes` takes it",
        "objects.npy": "it holds Python objects",
    }
    for name, words in told.items():
        pattern = f"^{name}: {words}".replace("(", r"\(")
        with pytest.raises(LatentEditError, match=pattern):
            open_editor(name)
        code, out, err = run("list", "directions", name)
        assert (code, out, err.count("\n")) == (1, "", 1) and re.match(pattern, err.removeprefix("error: ")), err
    code, _, err = run("edit", "--tag", "smile", "--directions", "one.npy")
    assert code == 1 and "one.npy: a NumPy file" in err and "damaged" not in err
