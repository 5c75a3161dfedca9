"""Judges: training on a labelled folder, resuming, the file, the bundled one, the command."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from latentedit import load_generator, load_tagger
from latentedit.errors import DamagedFileError, LatentEditError, UnknownNameError
from latentedit.metrics.agreement import cohen_kappa
from latentedit.taggers.networks.resnet import NETWORKS, ResidualNetwork
from latentedit.taggers.training import Recipe, read_labelled, train_judge, varied

SMALL = Recipe(network="resnet-small", size=16, epochs=4, batch_size=16)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """120 noisy pictures, bright or dark, reddish or not, and a table that says which."""
    folder = tmp_path_factory.mktemp("faces")
    random, lines = np.random.default_rng(0), ["file,bright,red,always"]
    for i in range(120):
        bright, red = i % 2, (i // 2) % 3 == 0
        pixels = random.integers(0, 60, (20, 24, 3)) + 150 * bright
        pixels[..., 1:] -= 40 * red * (pixels[..., 1:] > 40)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"face-{i}.png")
        lines.append(f"face-{i}.png,{bright},{int(red)},1")
    (folder / "labels.csv").write_text("\n".join([*lines, "gone.png,1,1,1"]))
    Image.new("RGB", (20, 20)).save(folder / "unlabelled.png")
    return folder


@pytest.fixture(scope="module")
def trained(faces, tmp_path_factory):
    out = tmp_path_factory.mktemp("judge") / "judge.safetensors"
    return out, train_judge(faces, out, recipe=SMALL)


def test_it_learns_what_the_table_says(trained, faces):
    out, report = trained
    assert report.tags == ("bright", "red") and report.dropped == ("always",)
    assert (report.unlabelled, report.missing, sum(report.pictures)) == (1, 1, 120)
    assert report.accuracy[0] >= 0.9
    judge = load_tagger(f"judge:{out}")
    dark, light = torch.full((1, 3, 40, 40), -0.8), torch.full((1, 3, 40, 40), 0.6)
    assert judge.score(light)[0, 0] > 0.5 > judge.score(dark)[0, 0]
    assert judge.id == load_tagger(f"judge:{out}").id and judge.tags == ("bright", "red")
    assert judge.about["held_out"]["bright"]["accuracy"] == pytest.approx(report.accuracy[0], abs=1e-4)
    assert not list(out.parent.glob(".*training"))


def test_a_stopped_training_ends_with_the_same_weights(trained, faces, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
        train_judge(faces, whole, recipe=SMALL)

        def stop(done, total):
            if done > total * 0.6:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_judge(faces, parts, recipe=SMALL, progress=stop)
        assert not parts.exists() and (tmp_path / ".parts.safetensors.training").exists()
        seen = []
        train_judge(faces, parts, recipe=SMALL, progress=lambda done, total: seen.append(done / total))
        assert min(seen) > 0.5
        assert load_tagger(f"judge:{parts}").id == load_tagger(f"judge:{whole}").id
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "resnet50" else ()) for name in NETWORKS]
)
def test_every_network_trains(name, faces, tmp_path):
    recipe = Recipe(network=name, size=32, epochs=1, batch_size=40)
    report = train_judge(faces, tmp_path / "j.safetensors", tags=["bright"], recipe=recipe)
    assert report.tags == ("bright",)
    scores = load_tagger(f"judge:{tmp_path}/j.safetensors").score(torch.zeros(2, 3, 30, 50))
    assert scores.shape == (2, 1)


def test_resnet50_has_torchvisions_names_and_starts_from_its_weights(faces, tmp_path):
    network = ResidualNetwork("resnet50", 1000)
    state = network.state_dict()
    assert len(state) == 320 and sum(p.numel() for p in network.parameters()) == 25_557_032  # torchvision's resnet50
    assert state["layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1) and "layer3.5.bn3.running_var" in state
    small = ResidualNetwork("resnet-small", 7).state_dict()
    save_file(small, tmp_path / "start.safetensors")
    one = Recipe(network="resnet-small", size=16, epochs=1, learning_rate=1e-12)
    train_judge(faces, tmp_path / "a.safetensors", recipe=one, start=tmp_path / "start.safetensors")
    kept = load_tagger(f"judge:{tmp_path}/a.safetensors").network.state_dict()["layer2.0.conv1.weight"]
    assert torch.allclose(kept, small["layer2.0.conv1.weight"], atol=1e-3)
    with pytest.raises(LatentEditError, match="does not hold the weights of a resnet18"):
        wrong = Recipe(network="resnet18", size=16, epochs=1)
        train_judge(faces, tmp_path / "b.safetensors", recipe=wrong, start=tmp_path / "start.safetensors")


def test_the_layout_of_selfie2anime(faces, tmp_path):
    (tmp_path / "trainB").mkdir()
    for path in [*faces.glob("face-?.png"), *faces.glob("face-1?.png")]:
        (tmp_path / "trainB" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "labels.csv").write_text((faces / "labels.csv").read_text())
    one = Recipe(network="resnet-small", size=16, epochs=1, batch_size=8)
    assert sum(train_judge(tmp_path, tmp_path / "j.safetensors", recipe=one).pictures) == 20


def test_a_tag_learns_from_the_pictures_that_have_a_label_for_it(faces, tmp_path):
    header, *rows = (faces / "labels.csv").read_text().splitlines()
    cells = [row.split(",") for row in rows]
    partial = [",".join((name, bright, red if i % 2 else "", "")) for i, (name, bright, red, _) in enumerate(cells)]
    (tmp_path / "labels.csv").write_text("\n".join([header, *partial]))
    with pytest.warns(UserWarning) as caught:
        held = read_labelled(faces, tmp_path / "labels.csv", 16)
    said = [str(warning.message) for warning in caught]
    assert "always is left out, without any label" in said[0] and said[1] == "labelled on some of 120 pictures: red 60"
    assert held.tags == ("bright", "red") and held.labels.isnan().sum(0).tolist() == [0, 60]
    with pytest.warns(UserWarning, match="red 60"):
        report = train_judge(
            faces, tmp_path / "j.safetensors", labels=tmp_path / "labels.csv", recipe=replace(SMALL, epochs=1)
        )
    assert report.pictures == (108, 12) and all(0 <= right <= 1 for right in report.accuracy)
    assert load_tagger(f"judge:{tmp_path}/j.safetensors").score(torch.zeros(1, 3, 16, 16)).isfinite().all()


def test_variations_keep_the_picture():
    images = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    random = torch.Generator().manual_seed(1)
    still = varied(images, random, flip=False, blur=False)
    assert still.shape == images.shape and 0 <= still.min() and still.max() <= 1
    ramp = torch.linspace(0, 1, 32).expand(200, 3, 32, 32)
    flipped = varied(ramp, torch.Generator().manual_seed(2), flip=True, blur=False)
    assert 0.35 <= (flipped[:, 0, 16, 8] > flipped[:, 0, 16, 24]).float().mean() <= 0.65
    same = [varied(images, torch.Generator().manual_seed(3), flip=True, blur=True) for _ in range(2)]
    assert torch.equal(*same)


def test_mistakes(faces, tmp_path):
    with pytest.raises(LatentEditError, match="no labels at"):
        train_judge(tmp_path, tmp_path / "j.safetensors")
    with pytest.raises(UnknownNameError, match="network"):
        Recipe(network="resnet51")
    with pytest.raises(LatentEditError, match="16 or more"):
        Recipe(size=4)
    with pytest.raises(UnknownNameError, match="label"):
        read_labelled(faces, faces / "labels.csv", 16, tags=["smile"])
    with pytest.raises(LatentEditError, match="nothing to tell apart"):
        read_labelled(faces, faces / "labels.csv", 16, tags=["always"])
    (tmp_path / "labels.csv").write_text("file,smile\nnobody.png,1\n")
    with pytest.raises(LatentEditError, match="labels no picture"):
        read_labelled(faces, tmp_path / "labels.csv", 16)
    (tmp_path / "labels.csv").write_text("seed,smile\n1,1\n")
    with pytest.raises(LatentEditError, match="need a column file"):
        read_labelled(faces, tmp_path / "labels.csv", 16)
    with pytest.raises(DamagedFileError, match="no judge at"):
        load_tagger("judge:nothing.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(DamagedFileError, match="is no judge"):
        load_tagger(f"judge:{tmp_path}/other.safetensors")
    with pytest.raises(LatentEditError, match="needs a file"):
        load_tagger("judge")


def test_the_bundled_judge_agrees_with_the_tagger_on_new_faces():
    generator, tagger, judge = load_generator("avatar"), load_tagger("avatar"), load_tagger("judge:avatar")
    images = generator.decode(generator.sample_codes(range(5_000_000, 5_000_120)))
    a, b = tagger.score(images) >= 0.5, judge.score(images) >= 0.5
    for tag in ("long_hair", "short_hair", "open_mouth", "closed_mouth", "closed_eyes", "open_eyes"):
        x, y = a[:, tagger.tags.index(tag)].numpy(), b[:, judge.tags.index(tag)].numpy()
        kappa = cohen_kappa(120, *(np.array([c.sum()]) for c in (x, y, x & y)))[0]
        assert kappa > 0.85, (tag, kappa)
    assert judge.id != tagger.id


def test_the_command(run, faces, tmp_path):
    options = ["--network", "resnet-small", "--size", 16, "--epochs", 2, "--threads", 1]
    code, out, err = run("train-judge", faces, *options)
    assert code == 0, err
    assert "judge:judge.safetensors" in out and "always" in err and "1 pictures have no label" in err
    code, out, err = run("train-judge", faces, *options)
    assert code == 1 and "--force" in err
    code, out, err = run("train-judge", faces, *options, "--force", "--json", "--quiet")
    assert json.loads(out)["judge"]["tags"] == ["bright", "red"]
    code, out, err = run("train-judge", tmp_path, "--out", "other.safetensors")
    assert code == 1 and err.count("\n") == 1 and "labels" in err
