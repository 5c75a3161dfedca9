"""One contract over the registries: whatever is registered is tested by being registered."""

import numpy as np
import omniart
import pytest
import torch
from clip_models import write_clip
from conformance import checkpoint
from onnx_taggers import write_tagger
from torch import nn
from toy import as_png

from latentedit.errors import LatentEditError, UnknownNameError
from latentedit.generators import GENERATORS, Generator, load_generator
from latentedit.generators.vae import write_vae
from latentedit.registry import Registry, import_object, parse_name
from latentedit.taggers import TAGGERS, Tagger, load_tagger


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file for every kind that is read from one."""
    folder = tmp_path_factory.mktemp("generators")
    write_vae(folder / "vae.safetensors", nn.Sequential(nn.Linear(4, 12), nn.Unflatten(1, (3, 2, 2))), range="-1..1")
    fixtures = {
        "gnr": "gansnroses",
        "stylegan2": "rosinality_stylegan2",
        "nvlabs": "stylegan3_t",
        "genforce": "sefa_pggan",
    }
    paths = {kind: str(checkpoint(name, folder)) for kind, name in fixtures.items()}
    return paths | {"vae": f"{folder}/vae.safetensors", "dcgan": f"{omniart.weight_file()}?labels=8"}


@pytest.mark.parametrize("kind", GENERATORS.names())
def test_every_generator_keeps_the_contract(kind, files):
    name = f"{kind}:{files[kind]}" if kind in files else {"torch": "torch:toy:ToyGenerator"}.get(kind, kind)
    generator = load_generator(name)
    assert isinstance(generator, Generator) and generator.id.count(":") == 1
    codes = generator.sample_codes([5, 6, 7])
    assert codes.shape == (3, generator.dim) and codes.dtype == torch.float32
    assert (generator.sample_codes([6])[0] - codes[1]).abs().max() <= 1e-6
    images = generator.decode(codes)
    side = generator.resolution
    assert images.shape == (3, 3, side, side) and images.dtype == torch.float32 and torch.isfinite(images).all()
    slots = codes[:, None].repeat(1, len(generator.layers), 1)
    assert torch.allclose(generator.decode(slots), images, atol=1e-5)
    assert torch.allclose(generator.sample_codes([5], truncation=0.0), generator.sample_codes([6], truncation=0.0))
    assert all(w.shape[1] == generator.dim for w in generator.style_weights().values())


@pytest.fixture(scope="module")
def tagger_files(tmp_path_factory, small_project):
    """A file or folder for every kind of tagger that is read from one."""
    folder = tmp_path_factory.mktemp("taggers")
    (folder / "labels.csv").write_text("seed,tags\n1,long_hair\n")
    paths = {"csv": folder / "labels.csv", "judge": "avatar", "deepdanbooru": small_project}
    for kind, write in (("onnx", write_tagger), ("clip", write_clip)):
        paths[kind] = folder / kind
        write(paths[kind])
    return paths


def load_example(kind, files):
    return load_tagger(f"{kind}:{files[kind]}" if kind in files else {"torch": "torch:toy:ToyTagger"}.get(kind, kind))


@pytest.mark.parametrize("kind", TAGGERS.names())
def test_every_tagger_keeps_the_contract(kind, tagger_files):
    tagger = load_example(kind, tagger_files)
    assert isinstance(tagger, Tagger) and 0 < tagger.threshold <= 1 and len(set(tagger.tags)) == len(tagger.tags)
    assert tagger.id.startswith({"torch": "toytags"}.get(kind, kind) + ":") and tagger.id.count(":") == 1
    assert all(isinstance(text, str) for text in getattr(tagger, "settings", {}).values())
    if kind == "csv":  # it knows rows, not pictures
        labels = tagger.label_rows(np.arange(3), None)
        assert labels.shape == (3, 1) and np.isnan(labels[[0, 2]]).all() and labels[1] == 1
        return
    side = 16 if kind == "torch" else 100
    images = torch.rand(5, 3, side, side) * 2.4 - 1.2
    scores = tagger.score(images)
    assert scores.shape == (5, len(tagger.tags)) and scores.dtype == torch.float32
    assert 0 <= scores.min() and scores.max() <= 1
    assert torch.allclose(tagger.score(images[2:3])[0], scores[2], atol=1e-5)
    assert torch.equal(tagger.score(as_png(images)), scores)  # a trip through PNG files changes nothing
    assert not torch.equal(tagger.score(as_png(images * 0.98)), scores)
    assert tagger.score(images[:0]).shape == (0, len(tagger.tags))
    assert load_example(kind, tagger_files).id == tagger.id


def test_names_are_parsed():
    assert parse_name("avatar") == ("avatar", "", {})
    assert parse_name("torch:a.b:make?x=1&y=") == ("torch", "a.b:make", {"x": "1", "y": ""})
    assert parse_name("gnr:C:/models/x.pt") == ("gnr", "C:/models/x.pt", {})


def test_a_registry_takes_a_name_once_and_lists_near_ones():
    registry = Registry("finder", "latentedit.nothing", {"json": "json:loads"})
    assert registry.get("json")("[1]") == [1]

    @registry.register("mine")
    def mine():
        return 1

    assert registry.get("mine") is mine and registry.names() == ["json", "mine"]
    with pytest.raises(LatentEditError, match="registered already"):
        registry.register("json")(mine)
    with pytest.raises(UnknownNameError, match="did you mean mine"):
        registry.get("mnie")


def test_what_cannot_be_imported_is_told_in_a_line():
    for target, words in (("json", "module:attribute"), ("nowhere:x", "cannot import"), ("json:nothing", "has no")):
        with pytest.raises(LatentEditError, match=words):
            import_object(target)
