"""``clip:FOLDER`` against transformers' own CLIP and Pillow, the shipped prompts, and everything that may be wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from clip_models import SIDE, write_clip
from PIL import Image
from places import ROOT
from safetensors.torch import load_file, save_file
from torch import Tensor
from toy import ToyGenerator

from latentedit.directions.pairs import TagRelations
from latentedit.errors import DamagedFileError, LatentEditError, UnknownNameError
from latentedit.samples.sampling import sample
from latentedit.samples.tables import SCORE_FLOOR
from latentedit.shipped import shipped
from latentedit.taggers import Tagger, load_tagger
from latentedit.taggers.clip_prompts import read_prompts

EXACT = 1e-5  # between two ways of computing the same in float32, in scores
PAIR = ("an anime face with long hair", "an anime face with short hair")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "model")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def prompts(folder: Path, **sides: tuple[str | list[str], str | list[str]]) -> Path:
    """A file of prompts: tag to positive and negative."""
    path = folder / "mine.toml"
    tables = [
        f"[prompts.{tag}]\npositive = {json.dumps(p)}\nnegative = {json.dumps(n)}" for tag, (p, n) in sides.items()
    ]
    path.write_text("\n".join(tables), encoding="utf-8")
    return path


def pictures(n: int = 5, height: int = 48, width: int = 40) -> Tensor:
    """Smooth colours in [-1, 1], other ones in each picture: (n, 3, height, width)."""
    draw = torch.Generator().manual_seed(3)
    small = torch.rand(n, 3, 4, 4, generator=draw) * 2 - 1
    return F.interpolate(small, (height, width), mode="bilinear")


def as_pillow(images: Tensor) -> list[Image.Image]:
    pixels = np.floor((images.double().numpy() + 1) * 127.5 + 0.5).clip(0, 255).astype(np.uint8)
    return [Image.fromarray(one) for one in pixels.transpose(0, 2, 3, 1)]


def own_outputs(folder: Path, images: Tensor, texts: list[str]) -> transformers.modeling_utils.ModelOutput:
    """What transformers' model gives for pictures and texts when it is called as its documentation says."""
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    tokens = transformers.CLIPTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    processor = transformers.CLIPImageProcessorPil.from_pretrained(folder)
    with torch.no_grad():
        return model(**tokens, **processor(images=as_pillow(images), return_tensors="pt"))


def test_scores_are_those_of_transformers(folder: Path, tmp_path: Path) -> None:
    images = pictures()
    expected = own_outputs(folder, images, list(PAIR)).logits_per_image.softmax(1)[:, 0]
    assert expected.std() > 0.05  # the pictures differ
    tagger = load_tagger(f"clip:{folder}?prompts={prompts(tmp_path, long_hair=PAIR)}")
    torch.testing.assert_close(tagger.score(images)[:, 0], expected, atol=EXACT, rtol=0)
    alone = torch.cat([tagger.score(image[None]) for image in images])
    torch.testing.assert_close(alone[:, 0], expected, atol=EXACT, rtol=0)
    scaled = own_outputs(folder, images, list(PAIR)).logits_per_image / 2
    assert (scaled.softmax(1)[:, 0] - expected).abs().max() > 0.01  # another temperature would be seen


def test_models_with_the_old_end_of_text(tmp_path: Path) -> None:
    """OpenAI's own say that token 2 ends a text; what is read is the last token all the same."""
    old, new = write_clip(tmp_path / "old", old_end=True), write_clip(tmp_path / "new")
    file = prompts(tmp_path, long_hair=PAIR)
    found = [load_tagger(f"clip:{folder}?prompts={file}").score(pictures()) for folder in (old, new)]
    torch.testing.assert_close(found[0], found[1], atol=0, rtol=0)


def test_the_other_way_round_is_what_is_left_to_one(folder: Path, tmp_path: Path) -> None:
    file = prompts(tmp_path, long_hair=PAIR, short_hair=PAIR[::-1])
    scores = load_tagger(f"clip:{folder}?prompts={file}").score(pictures())
    torch.testing.assert_close(scores[:, 0], 1 - scores[:, 1], atol=1e-6, rtol=0)
    assert (scores[:, 0] - scores[:, 1]).abs().max() > 0.1


def test_texts_of_a_side_are_averaged(folder: Path, tmp_path: Path) -> None:
    """By the normalised embeddings that transformers gives; averaging the similarities would be something else."""
    sides = [["a face with long hair", "an anime face, long hair"], ["short hair", "a short face", "face"]]
    images = pictures()
    outputs = own_outputs(folder, images, sides[0] + sides[1])
    means = torch.stack([outputs.text_embeds[:2].mean(0), outputs.text_embeds[2:].mean(0)])
    scale = transformers.CLIPModel.from_pretrained(folder).logit_scale.exp().detach()
    expected = (scale * outputs.image_embeds @ F.normalize(means).T).softmax(1)[:, 0]
    tagger = load_tagger(f"clip:{folder}?prompts={prompts(tmp_path, long_hair=(sides[0], sides[1]))}")
    torch.testing.assert_close(tagger.score(images)[:, 0], expected, atol=EXACT, rtol=0)
    plain = (scale * outputs.image_embeds @ means.T).softmax(1)[:, 0]
    assert (plain - expected).abs().max() > 10 * EXACT


@pytest.mark.parametrize("size", [(48, 40), (32, 32), (100, 33), (2, 2), (3, 5), (20, 200), (400, 300)])
def test_pictures_are_prepared_as_clip_was_trained(folder: Path, size: tuple[int, int]) -> None:
    """Shorter side to 32 by Pillow's bicubic filter, the middle, mean and deviation of OpenAI's data."""
    (image,) = as_pillow(pictures(1, *size))
    scale = SIDE / min(size)
    image = image.resize((int(size[1] * scale), int(size[0] * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
    middle = np.asarray(image.crop((left, top, left + SIDE, top + SIDE)), np.float64) / 255
    expected = (middle - [0.48145466, 0.4578275, 0.40821073]) / [0.26862954, 0.26130258, 0.27577711]
    tagger = load_tagger(f"clip:{folder}?tags=smile")
    pixels = torch.from_numpy(np.stack([np.asarray(one) for one in as_pillow(pictures(1, *size))])).permute(0, 3, 1, 2)
    found = tagger.prepare(pixels)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_it_fulfils_the_contract_with_the_shipped_prompts(folder: Path) -> None:
    tagger = load_tagger(f"clip:{folder}")
    assert isinstance(tagger, Tagger) and re.fullmatch(r"clip:[0-9a-f]{12}", tagger.id) and tagger.threshold == 0.5
    scores = tagger.score(pictures())
    assert scores.shape == (5, len(tagger.tags)) and scores.dtype == torch.float32
    assert 0 <= scores.min() and scores.max() <= 1
    assert tagger.score(torch.zeros(0, 3, 9, 9)).shape == (0, len(tagger.tags))
    assert tagger.settings == {
        "size": "32 x 32", "resize": "shorter side, centre crop", "prompts": "prompts.toml", "tags": "74",
    }  # fmt: skip
    some = load_tagger(f"clip:{folder}?tags=smile,long_hair,%20smile")
    assert some.tags == ("long_hair", "smile")  # in the order of the file
    places = [tagger.tags.index(tag) for tag in some.tags]
    torch.testing.assert_close(some.score(pictures()), scores[:, places], atol=EXACT, rtol=0)


def test_the_shipped_prompts_cover_the_bundled_tags() -> None:
    """Its 42 tags, so that the two taggers can be compared; opposites of the study are each other's negative."""
    ours = {prompt.tag: prompt for prompt in read_prompts(shipped("directions/prompts.toml"))}
    assert 60 <= len(ours) <= 80 and all(re.fullmatch(r"[0-9a-z]+([_-][0-9a-z]+)*", tag) for tag in ours)
    assert set(shipped("data/avatar-tags.txt").read_text().split()) <= set(ours)
    for tag in ("long_hair", "open_mouth", "closed_eyes", "smile"):
        pair = TagRelations.load().opposite_of(tag)
        assert pair is not None
        one, other = ours[tag], ours[pair.negative]
        assert (one.positive, one.negative) == (other.negative, other.positive)
    for tag, prompt in ours.items():
        colour = tag.partition("_")[0]
        if tag.endswith(("_hair", "_eyes", "_background")) and f" {colour} " in prompt.positive[0]:
            assert not any(f" {colour} " in text for text in prompt.negative)


def test_the_id_is_of_what_changes_scores(folder: Path, copy: Path, tmp_path: Path) -> None:
    first = load_tagger(f"clip:{folder}").id
    assert load_tagger(f"clip:{copy}").id == first  # wherever it lies
    assert load_tagger(f"clip:{folder}?prompts={shipped('directions/prompts.toml')}").id == first
    tags = ",".join(load_tagger(f"clip:{folder}").tags)
    assert load_tagger(f"clip:{folder}?tags={tags}").id == first
    ids = {first, load_tagger(f"clip:{folder}?tags=smile").id}
    ids.add(load_tagger(f"clip:{folder}?prompts={prompts(tmp_path, smile=('a smile', 'a frown'))}").id)
    ids.add(load_tagger(f"clip:{write_clip(tmp_path / 'other', seed=1)}").id)
    settings = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps(settings | {"image_mean": [0.5, 0.5, 0.5]}))
    ids.add(load_tagger(f"clip:{copy}").id)
    assert len(ids) == 5


def test_weights_in_several_files_are_the_same_model(folder: Path, copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    transformers.CLIPModel.from_pretrained(folder).save_pretrained(copy, max_shard_size="40KB")
    assert (copy / "model.safetensors.index.json").is_file() and not (copy / "model.safetensors").exists()
    assert load_tagger(f"clip:{copy}").id == load_tagger(f"clip:{folder}").id


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(folder: Path, dtype: torch.dtype) -> None:
    """Cosines are off by some 1e-3 (float16) or 1e-2 (bfloat16), and a hundred times that enters the softmax."""
    full, half = load_tagger(f"clip:{folder}"), load_tagger(f"clip:{folder}", dtype=dtype)
    images = pictures()
    assert half.id == full.id and half.score(images).dtype == torch.float32
    difference = (half.score(images) - full.score(images)).abs()
    assert 1e-5 < difference.mean() < (0.02 if dtype == torch.float16 else 0.1)


def test_weights_kept_in_half_precision_are_used_in_full(folder: Path, copy: Path) -> None:
    transformers.CLIPModel.from_pretrained(folder).half().save_pretrained(copy)
    tagger = load_tagger(f"clip:{copy}")
    rounded = {name: w.half().float() for name, w in load_file(folder / "model.safetensors").items()}
    save_file(rounded, copy / "model.safetensors", {"format": "pt"})
    again = load_tagger(f"clip:{copy}")
    assert again.id == tagger.id
    torch.testing.assert_close(tagger.score(pictures()), again.score(pictures()), atol=EXACT, rtol=0)


def test_nothing_is_printed_and_nothing_is_switched(
    folder: Path, copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    say = transformers.utils.logging
    say.set_verbosity_info()
    say.enable_progress_bar()
    try:
        load_tagger(f"clip:{folder}").score(pictures())
        (copy / "model.safetensors").write_bytes(b"nothing")
        with pytest.raises(DamagedFileError):
            load_tagger(f"clip:{copy}")
        assert capfd.readouterr() == ("", "")
        assert say.get_verbosity() == say.INFO and say.is_progress_bar_enabled()
    finally:
        say.set_verbosity_warning()


def test_samples_are_tagged(folder: Path, tmp_path: Path) -> None:
    tagger, g = load_tagger(f"clip:{folder}?tags=smile,long_hair"), ToyGenerator()
    run = sample(g, tmp_path / "run", tagger=tagger, n=7, batch_size=3)
    expected = tagger.score(g.decode(g.sample_codes(range(7))))
    stored = np.concatenate([b.scores for b in run.iter_batches(tagger.id) if b.scores is not None])
    kept = expected >= SCORE_FLOOR
    assert kept.any() and (np.abs(stored - expected.numpy())[kept] <= 2.6e-4).all()  # half precision, 11 bits
    assert dict(run.manifest.taggers[0].settings)["prompts"] == "prompts.toml"


def test_code_that_a_folder_carries_does_not_run(copy: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (copy / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil:\n    pass\n")
    for name in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        held = json.loads((copy / name).read_text()) if (copy / name).exists() else {}
        classes = {f"Auto{kind}": "evil.Evil" for kind in ("Config", "Model", "ImageProcessor")}
        held["auto_map"] = classes | {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
        (copy / name).write_text(json.dumps(held))
    load_tagger(f"clip:{copy}").score(pictures())
    assert not mark.exists()


# Bad input


def refused(name: str) -> str:
    with pytest.raises(LatentEditError) as caught:
        load_tagger(name)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    return message


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (["config.json"], "has no config.json; download the whole folder"),
        (["model.safetensors"], "has no model.safetensors or model.safetensors.index.json"),
        (["vocab.json"], "has no tokenizer.json or vocab.json"),
        (["merges.txt"], "has no tokenizer.json or merges.txt"),
        (["preprocessor_config.json"], "has no preprocessor_config.json"),
    ],
)
def test_missing_files_are_named(copy: Path, missing: list[str], words: str) -> None:
    for name in missing:
        (copy / name).unlink()
    assert words in refused(f"clip:{copy}")


def test_weights_in_a_pickle_are_refused(copy: Path) -> None:
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    assert "as a pickle only, which may carry code; take a model.safetensors" in refused(f"clip:{copy}")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", "{", "config.json cannot be read"),
        ("config.json", "[]", "a model of type None"),
        ("config.json", '{"model_type": "bert", "hidden_size": 8}', "a model of type 'bert', not 'clip'"),
        ("config.json", "{}", "a model of type None, not 'clip'"),
        ("model.safetensors", "nothing", "the weights cannot be read"),
        ("vocab.json", "{}", "tokenizer"),
        ("vocab.json", "no json", "the tokenizer cannot be read"),
        ("merges.txt", "", "merges.txt: the file is empty; download it again"),
        ("merges.txt", "#version: 0.2\nxx yy zz\n", "the tokenizer cannot be read"),
        ("tokenizer.json", "{}", "the tokenizer cannot be read"),
        ("preprocessor_config.json", "{", "preprocessor_config.json cannot be read"),
        ("preprocessor_config.json", '{"size": {"shortest_edge": 32}, "crop_size": 16}', "pictures of 16 x 16 pixels"),
        ("preprocessor_config.json", '{"size": {"shortest_edge": 32}, "do_center_crop": false}', "and the model takes"),
        ("preprocessor_config.json", '{"size": -3}', "preprocessor_config.json cannot be read"),
        ("preprocessor_config.json", '{"image_mean": [0.5]}', "preprocessor_config.json cannot be read"),
    ],
)
def test_damaged_files_are_named(copy: Path, name: str, content: str, words: str) -> None:
    (copy / name).write_text(content)
    message = refused(f"clip:{copy}")
    assert words in message and str(copy) in message


def test_damaged_weights(copy: Path) -> None:
    file = copy / "model.safetensors"
    whole = load_file(file)
    file.write_bytes(file.read_bytes()[:-1000])
    assert "the weights cannot be read" in refused(f"clip:{copy}")
    save_file({k: v for k, v in whole.items() if k != "visual_projection.weight"}, file, {"format": "pt"})
    assert "its weights lack visual_projection.weight, or have it in" in refused(f"clip:{copy}")
    save_file({**whole, "text_projection.weight": torch.zeros(24, 16)}, file, {"format": "pt"})
    assert "text_projection.weight, or have it in another shape than config.json asks for (1" in refused(f"clip:{copy}")
    save_file({**whole, "visual_projection.weight": torch.full((24, 32), float("nan"))}, file, {"format": "pt"})
    with pytest.raises(LatentEditError, match="gave NaN or infinity in torch.float32"):
        load_tagger(f"clip:{copy}").score(pictures())


def test_names_that_are_no_model(folder: Path, tmp_path: Path) -> None:
    assert "clip needs a model's folder or id, as in clip:openai/clip-vit-base-patch32" in refused("clip:")
    assert "is a file; name the folder that holds it" in refused(f"clip:{folder / 'config.json'}")
    for name in (tmp_path / "no", "./no", "a/b/c"):
        assert f"no folder at {name}; clip takes a model's folder, or an id" in refused(f"clip:{name}")


def test_an_id_that_cannot_be_fetched(tmp_path: Path) -> None:
    """In a process of its own, as the hub's packages read the environment when they are imported."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "latentedit.cli", "tag", "a.png", "--tagger", "clip:openai/clip-vit-base-patch32"]
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode != 0 and done.stdout == "" and len(done.stderr.strip().splitlines()) == 1
    assert "no folder 'openai/clip-vit-base-patch32' is here" in done.stderr
    assert "download the model's folder and name it, as in clip:./clip-vit-base-patch32" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prompts = [", "cannot be read as TOML"),
        ("", "it has nothing; it must have tables [prompts.TAG]"),
        ("[prompts]\n", "it must have tables [prompts.TAG] and nothing else"),
        ("[smile]\npositive = 'a'\n", "it has 'smile'; it must have tables"),
        ("x = 1\n[prompts.a]\npositive = 'a'\nnegative = 'b'\n", "it has 'x', 'prompts'; it must have"),
        ("[prompts.smile]\npositive = 'a'\n", "[prompts.smile] has positive; it must have positive and negative"),
        ("[prompts.smile]\n", "[prompts.smile] has nothing; it must have"),
        ("[prompts]\nsmile = 'a'\n", "[prompts.smile] has 'a'; it must have"),
        ("[prompts.a]\npositive = ''\nnegative = 'b'\n", "positive is ''; it must be a text, or a list"),
        ("[prompts.a]\npositive = 'a'\nnegative = []\n", "negative is []; it must be a text, or a list"),
        ("[prompts.a]\npositive = 3\nnegative = 'b'\n", "positive is 3; it must be a text"),
        ("[prompts.a]\npositive = ['a', 3]\nnegative = 'b'\n", "positive is ['a', 3]; it must be a text"),
        ("[prompts.a]\npositive = ['a', 'a ']\nnegative = 'b'\n", "positive says the same twice"),
        ("[prompts.a]\npositive = 'a'\nnegative = ['b', 'a']\n", "'a' is positive and negative; keep one"),
        ("[prompts.'long hair']\npositive = 'a'\nnegative = 'b'\n", "tag 'long hair': write it without spaces"),
        ("[prompts.'a,b']\npositive = 'a'\nnegative = 'b'\n", "tag 'a,b': write it without spaces and commas"),
        ("[prompts.a]\npositive = 'a'\nnegative = 'b'\n[prompts.a]\n", "cannot be read as TOML"),
    ],
)
def test_bad_prompts(folder: Path, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    message = refused(f"clip:{folder}?prompts={tmp_path / 'bad.toml'}")
    assert words in message and "bad.toml" in message


def test_prompts_that_are_missing_or_too_long(folder: Path, tmp_path: Path) -> None:
    assert "no.toml: there is no such file" in refused(f"clip:{folder}?prompts={tmp_path / 'no.toml'}")
    file = prompts(tmp_path, smile=("face " * 76, "face"))
    assert "has 78 tokens, and" in refused(f"clip:{folder}?prompts={file}")
    assert load_tagger(f"clip:{folder}?prompts={prompts(tmp_path, smile=('face ' * 75, 'face'))}").tags == ("smile",)


def test_bad_options(folder: Path) -> None:
    assert "clip has no option prompt; its options: prompts (a TOML file in place" in refused(f"clip:{folder}?prompt=a")
    assert "tags is ' ,'; name some with commas between" in refused(f"clip:{folder}?tags=%20,")
    with pytest.raises(UnknownNameError, match="unknown tag 'long_hiar'; did you mean long_hair"):
        load_tagger(f"clip:{folder}?tags=smile,long_hiar")


def test_pictures_that_are_too_narrow(folder: Path) -> None:
    tagger = load_tagger(f"clip:{folder}?tags=smile")
    assert tagger.score(torch.zeros(1, 3, 2, 128)).shape == (1, 1)
    with pytest.raises(
        LatentEditError, match="pictures are 2 x 129 pixels, of which only the middle would be seen; crop"
    ):
        tagger.score(torch.zeros(1, 3, 129, 2))


def test_without_transformers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert refused(f"clip:{folder}").endswith("pip install 'latentedit[clip]'")


def test_the_command_says_it_in_one_line(folder: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    as_pillow(pictures(1))[0].save("a.png")
    code, out, _ = run("tag", "a.png", "--tagger", f"clip:{folder}?tags=smile,frown")
    assert code == 0 and "a.png" in out and ("smile" in out) != ("frown" in out)
    code, out, err = run("tag", "a.png", "--tagger", f"clip:{folder}?tags=grin")
    assert code != 0 and out == "" and len(err.strip().splitlines()) == 1 and "Traceback" not in err
