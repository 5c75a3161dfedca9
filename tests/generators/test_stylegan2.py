"""StyleGAN2 in rosinality's layout: against the official outputs, and against the usual way to write the network."""

from __future__ import annotations

import argparse
from pathlib import Path

import conformance
import numpy as np
import pytest
import torch
from conformance import HALF_TOLERANCE, TOLERANCE, largest
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.decode import Usual, generator_of, random_stylegan2
from latentedit.checkpoints.checkpoint import Checkpoint, read_checkpoint
from latentedit.directions import SeFa
from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.generators.base import Generator
from latentedit.generators.family import FileGenerator
from latentedit.generators.networks.stylegan2 import Synthesis, stylegan2
from latentedit.generators.stylegan2 import FAMILY

NAME = "rosinality_stylegan2"
ARRAYS = conformance.arrays(NAME)


def official(name: str) -> Tensor:
    return torch.from_numpy(ARRAYS[name])


def load(path: Path) -> FileGenerator:
    return FAMILY(str(path), {}, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("stylegan2")


@pytest.fixture(scope="module")
def generator(folder) -> FileGenerator:
    return load(conformance.checkpoint(NAME, folder))


def test_codes_and_pictures_are_the_official_ones(generator, threads):
    assert isinstance(generator, Generator) and generator.resolution == 32
    z, cut = official("in_z"), generator.map(official("in_z"), truncation=0.7)
    codes = generator.map(z)
    assert largest(codes, ARRAYS["out_w"]) <= TOLERANCE and largest(cut, ARRAYS["out_w_psi0.7"]) <= TOLERANCE
    for name, given in (("psi1", codes), ("psi0.7", cut)):
        expected = ARRAYS[f"out_image_{name}"]
        assert largest(generator.decode(given[:1]), expected[:1]) <= TOLERANCE
        assert largest(generator.decode(given.repeat(2, 1)), np.concatenate([expected] * 2)) <= TOLERANCE
    assert largest(generator.decode(codes), ARRAYS["out_image_psi0.7"]) > 0.01


def test_codes_per_slot_are_the_official_ones(generator):
    assert largest(generator.decode(official("in_wplus")), ARRAYS["out_image_wplus"]) <= TOLERANCE
    w0, w1 = generator.map(official("in_z")).split(1)
    mixed = torch.stack([w0] * 3 + [w1] * 5, 1)
    assert largest(generator.decode(mixed), ARRAYS["out_image_mix3"]) <= TOLERANCE
    shifted = torch.stack([w0] * 4 + [w1] * 4, 1)
    assert largest(generator.decode(shifted), ARRAYS["out_image_mix3"]) > 0.01
    part = generator.map(official("in_z"), truncation=0.7, truncation_layers=2)
    assert torch.equal(part[:, 2], generator.map(official("in_z")))
    assert largest(part[:, 1], ARRAYS["out_w_psi0.7"]) <= TOLERANCE


def test_noise_is_the_files_or_none_or_of_a_seed(generator, folder):
    w = generator.map(official("in_z"))[:1]
    assert largest(generator.decode(w, noise="none"), ARRAYS["out_image_noise_zero"]) <= TOLERANCE
    assert largest(generator.decode(w), ARRAYS["out_image_noise_zero"]) > 0.01
    one = generator.decode(w, noise=1)
    assert torch.equal(one, generator.decode(w, noise=1))
    assert (one - generator.decode(w, noise=2)).abs().max() > 0.01
    tensors = conformance.state_dict(NAME)
    maps = {f"noises.noise_{i}": official(f"in_noise_{i}") for i in range(7)}
    given = generator_of(FAMILY, tensors | maps)
    assert largest(given.decode(w), ARRAYS["out_image_noise_given"]) <= TOLERANCE
    bare = generator_of(FAMILY, {name: t for name, t in tensors.items() if not name.startswith("noises.")})
    assert torch.equal(bare.decode(w), generator.decode(w, noise=0))
    assert "no noise maps" in bare.notes[-1] and generator.notes == ()


def test_sefa_finds_the_official_directions_and_pictures(generator):
    weights = generator.style_weights()
    assert list(weights) == ["conv1.conv.modulation", "to_rgb1.conv.modulation"] + [
        f"convs.{k}.conv.modulation" for k in range(6)
    ]
    stacked = torch.cat(list(weights.values())).double()
    assert np.abs(torch.linalg.svdvals(stacked).numpy() - ARRAYS["out_sefa_singular_values"]).max() <= 1e-3
    found = SeFa(variant="raw", k=8).fit(generator)
    vectors = np.stack([np.asarray(d.vector) for d in found], 1)
    cosines = (vectors * ARRAYS["out_eigvec_first8"]).sum(0)
    assert np.abs(np.abs(cosines) - 1).max() <= 1e-5
    w = generator.map(official("in_z"))[:1]
    mean = official("in_latent_avg")
    for k in (0, 3):
        step = 5 * torch.from_numpy(vectors[:, k] * np.sign(cosines[k])).float()
        for sign, name in ((1, "plus"), (-1, "minus")):
            expected = ARRAYS[f"out_image_factor_i{k}_d5_{name}"]
            assert largest(generator.decode(mean + 0.7 * (w + sign * step - mean)), expected) <= TOLERANCE
            assert largest(generator.decode(mean + 0.7 * (w - sign * step - mean)), expected) > 0.01


def test_weights_in_half_precision_make_nearly_the_same_pictures(folder):
    z = official("in_z")
    stored = load(conformance.checkpoint(NAME, folder, half=True))
    assert largest(stored.decode(stored.map(z)), ARRAYS["out_image_psi1"]) <= HALF_TOLERANCE
    path = str(conformance.checkpoint(NAME, folder))
    half = FAMILY(path, {}, device=torch.device("cpu"), dtype=torch.bfloat16)
    assert torch.equal(half.map(z), load(Path(path)).map(z))
    assert 1e-5 < largest(half.decode(half.map(z)), ARRAYS["out_image_psi1"]) <= HALF_TOLERANCE


def test_half_precision_does_not_overflow_where_demodulation_would_cancel_it():
    tensors = random_stylegan2(8, depth=1)
    for name, tensor in tensors.items():
        if name.startswith("conv") and name.endswith(("conv.weight", "modulation.weight", "modulation.bias")):
            tensor.mul_(300)
    full = generator_of(FAMILY, tensors)
    half = generator_of(FAMILY, tensors, dtype=torch.float16)
    codes = full.sample_codes(range(2))
    expected = full.decode(codes)
    assert (half.decode(codes) - expected).abs().max() <= HALF_TOLERANCE * expected.abs().max()


@pytest.mark.parametrize(
    ("size", "multiplier", "depth"), [(8, 2, 2), (64, 1, 4), pytest.param(128, 2, 1, marks=pytest.mark.slow)]
)
def test_other_sizes_are_read_from_the_shapes(size, multiplier, depth):
    tensors = random_stylegan2(size, multiplier=multiplier, depth=depth)
    generator = generator_of(FAMILY, tensors)
    blocks = int(np.log2(size)) - 2
    assert generator.resolution == size and len(generator.layers) == 2 * blocks + 2
    assert generator.network.mapping.depth == depth
    assert generator.layers[:2] == ("conv1", "convs.0") and generator.layers[-1] == f"to_rgbs.{blocks - 1}"
    assert [slot.resolution for slot in generator.slots] == [4] + [
        2**i for i in range(3, blocks + 3) for _ in (0, 1)
    ] + [size]
    codes = generator.sample_codes(range(2))
    with torch.inference_mode():
        expected = Usual(tensors)(codes, None)
    pictures = generator.decode(codes)
    assert pictures.shape == (2, 3, size, size)
    assert (pictures - expected).abs().max() <= 2e-5 * expected.abs().max()
    assert (pictures.flip(0) - expected).abs().max() > 0.1 * expected.abs().max()


def test_grey_pictures_have_three_equal_channels():
    tensors = random_stylegan2(8, depth=1)
    for name, tensor in tensors.items():
        if name.startswith("to_rgb") and name.endswith(("conv.weight", "0.bias", "1.bias")):
            tensors[name] = tensor[:, :1]
    pictures = (grey := generator_of(FAMILY, tensors)).decode(grey.sample_codes([0]))
    assert pictures.shape == (1, 3, 8, 8) and torch.equal(pictures[:, 0], pictures[:, 2])


def test_classes_enter_the_mapping_and_clamping_limits_what_leaves_a_layer():
    tensors = random_stylegan2(8, depth=1)
    random = torch.Generator().manual_seed(0)
    tensors["embed.weight"] = torch.randn(16, 3, generator=random)
    tensors["embed.bias"] = torch.randn(16, generator=random)
    network = stylegan2(tensors, style_weights={})
    assert network.labels == 3 and network.z_dim == 512 - 16
    z, label = torch.randn(1, 496, generator=random), torch.eye(3)[1:2]
    embedded = tensors["embed.weight"][:, 1] / 3**0.5 + tensors["embed.bias"]
    x = torch.cat([part / (part.square().mean() + 1e-8).sqrt() for part in (z[0], embedded)])
    raw = tensors["style.1.weight"] @ x * 0.01 / 512**0.5 + tensors["style.1.bias"] * 0.01
    expected = torch.where(raw > 0, raw, 0.2 * raw) * 2**0.5
    assert (network.mapping(z, label)[0] - expected).abs().max() < 1e-5
    assert (network.mapping(z, torch.eye(3)[:1])[0] - expected).abs().max() > 0.01

    codes = network.mapping(z, label)[:, None].repeat(1, len(network.slots), 1)
    free = network.synthesis(codes, None, "stored")
    tight = stylegan2(tensors, style_weights={}, conv_clamp=0.1).synthesis(codes, None, "stored")
    assert tight.abs().max() <= 0.2 + 1e-6 < free.abs().max()
    wide = stylegan2(tensors, style_weights={}, conv_clamp=1e6).synthesis(codes, None, "stored")
    assert torch.equal(wide, free)


def test_pictures_have_gradients_and_are_the_same_with_them():
    network = stylegan2(random_stylegan2(8, depth=1), style_weights={}, conv_clamp=2.0).double()
    assert isinstance(network.synthesis, Synthesis)
    codes = torch.randn(2, 4, 512, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    pictures = network.synthesis(codes, None, "stored")
    with torch.inference_mode():
        assert torch.allclose(network.synthesis(codes.detach(), None, "stored"), pictures, atol=1e-12)
    (slope,) = torch.autograd.grad(pictures.square().sum(), codes)
    step = 1e-6 * torch.randn(codes.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    there, back = (network.synthesis(codes + s * step, None, "stored").square().sum() for s in (1, -1))
    assert ((there - back) / 2).item() == pytest.approx((slope * step).sum().item(), rel=1e-4)


def test_the_same_weights_have_the_same_id_in_every_container(generator, folder):
    tensors, mean = conformance.state_dict(NAME), official("in_latent_avg")
    torch.save({"g_ema": tensors, "latent_avg": mean}, folder / "old.pt", _use_new_zipfile_serialization=False)
    save_file(tensors, folder / "bare.safetensors")
    save_file({f"g_ema.{k}": t for k, t in tensors.items()} | {"latent_avg": mean}, folder / "whole.safetensors")
    torch.save(tensors, folder / "bare.pt")
    w = generator.map(official("in_z"), truncation=0.7)
    for name in ("old.pt", "bare.safetensors", "whole.safetensors", "bare.pt"):
        other = load(folder / name)
        assert other.id == generator.id and list(other.style_weights()) == list(generator.style_weights())
        assert torch.equal(other.decode(w[:1]), generator.decode(w[:1]))
        same = torch.allclose(other.map(official("in_z"), truncation=0.7), w)
        assert same == ("bare" not in name) and bool(other.notes) == ("bare" in name)
    changed = tensors | {"conv1.activate.bias": tensors["conv1.activate.bias"] + 1}
    assert generator_of(FAMILY, changed).id != generator.id


def test_files_of_training_load_and_the_average_is_preferred(generator, folder):
    tensors = conformance.state_dict(NAME)
    other = {name: tensor + 1 for name, tensor in tensors.items()}
    rest = {
        "d": {"convs.0.0.weight": torch.zeros(3)}, "g_optim": {"state": {0: {"step": 1, "exp_avg": torch.zeros(2)}}},
        "d_optim": {"state": {}, "param_groups": [{"lr": 0.002}]}, "args": argparse.Namespace(size=32, latent=512),
        "ada_aug_p": torch.tensor(0.3),
    }  # fmt: skip
    torch.save({"g": other, "g_ema": tensors, **rest}, folder / "trained.pt")
    trained = load(folder / "trained.pt")
    assert trained.id == generator.id and "no mean code" in trained.notes[0]
    torch.save({"g": other, **rest}, folder / "unaveraged.pt")
    assert load(folder / "unaveraged.pt").id != generator.id


def test_a_tensor_that_is_missing_or_misshapen_is_named_in_a_line(folder):
    tensors = conformance.state_dict(NAME)
    for name in ("convs.3.conv.weight", "style.5.bias", "to_rgbs.1.bias", "convs.2.noise.weight", "noises.noise_3",
                 "convs.5.conv.modulation.bias"):  # fmt: skip
        with pytest.raises(DamagedFileError, match=rf"not whole.*{name} is missing") as caught:
            generator_of(FAMILY, {key: t for key, t in tensors.items() if key != name})
        assert "\n" not in str(caught.value)
    wrongs = {
        "convs.3.conv.modulation.weight": (512, 500), "style.2.weight": (9, 9), "noises.noise_3": (1, 1, 8, 8),
        "to_rgb1.conv.weight": (5,), "latent_avg": (7,),
    }  # fmt: skip
    for name, shape in wrongs.items():
        layer = name.partition(".")[0]
        with pytest.raises(DamagedFileError, match=rf"not whole.*: {layer}"):
            generator_of(FAMILY, tensors | {name: torch.zeros(shape)})
    path = conformance.checkpoint(NAME, folder)
    (folder / "cut.pt").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DamagedFileError, match="cut.pt"):
        load(folder / "cut.pt")


def test_other_families_are_left_alone(folder):
    for name in ("gansnroses", "stylegan2_ada", "sefa_stylegan2", "stylegan3_t"):
        tensors = conformance.state_dict(name)
        assert FAMILY.find(Checkpoint(Path(name), "torch zip", {"G_ema": tensors})) is None
        assert FAMILY.find(Checkpoint(Path(name), "torch zip", tensors)) is None
    with pytest.raises(LatentEditError, match="not a StyleGAN2 of rosinality"):
        generator_of(FAMILY, {"conv1.conv.weight": torch.zeros(1)})
    assert FAMILY.find(read_checkpoint(conformance.checkpoint(NAME, folder))) is not None
