"""StyleGAN, StyleGAN2 and ProGAN of genforce against their official outputs, and layouts that are made up here."""

from __future__ import annotations

import re
from pathlib import Path

import conformance
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conformance import HALF_TOLERANCE, TOLERANCE, largest
from safetensors.torch import save_file
from small_networks import pggan_state, stylegan2_state, stylegan_state
from torch import Tensor

from latentedit.checkpoints.checkpoint import read_checkpoint
from latentedit.directions import SeFa
from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.generators.family import FileGenerator
from latentedit.generators.genforce import FAMILY
from latentedit.generators.networks.genforce import up_kernel

STYLED = ("sefa_stylegan", "sefa_stylegan2")
NAMES = (*STYLED, "sefa_pggan")


def load(path: Path, **options: str) -> FileGenerator:
    return FAMILY(str(path), options, device=torch.device("cpu"), dtype=torch.float32)


def save(path: Path, tensors: dict[str, Tensor]) -> Path:
    torch.save(tensors, path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("genforce")
    return {name: conformance.checkpoint(name, folder) for name in NAMES}


@pytest.fixture(scope="module")
def generators(files: dict[str, Path]) -> dict[str, FileGenerator]:
    return {name: load(path) for name, path in files.items()}


def official_codes(generator: FileGenerator, name: str) -> tuple[Tensor, dict[str, np.ndarray]]:
    arrays = conformance.arrays(name)
    cut = {} if name == "sefa_pggan" else {"truncation": 0.7, "truncation_layers": 8}
    return generator.map(torch.from_numpy(arrays["in_z"]), **cut), arrays


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", NAMES)
def test_codes_and_pictures_are_the_official_ones(generators, name, threads):
    generator = generators[name]
    codes, arrays = official_codes(generator, name)
    flat = codes if codes.ndim == 2 else codes[:, 0]
    assert largest(flat, arrays["out_codes"]) <= 1e-5
    assert largest(generator.decode(codes), arrays["out_image"]) <= 1e-5
    four = generator.decode(codes.repeat(2, *[1] * (codes.ndim - 1)))
    assert largest(four, np.concatenate([arrays["out_image"]] * 2)) <= 1e-5
    assert largest(generator.decode(codes[1:]), arrays["out_image"][1:]) <= 1e-5
    levels = ((generator.decode(codes) + 1) * 127.5 + 0.5).clamp(0, 255).floor().permute(0, 2, 3, 1)
    assert largest(levels, arrays["out_image_u8"]) <= 1
    assert largest(generator.decode(codes.flip(0)), arrays["out_image"]) > 0.1


@pytest.mark.parametrize("name", STYLED)
def test_mapping_and_truncation_are_the_official_ones(generators, name):
    generator, arrays = generators[name], conformance.arrays(name)
    z = torch.from_numpy(arrays["in_z"])
    assert largest(generator.map(z), arrays["out_w"]) <= 1e-5
    assert largest(generator.decode(generator.map(z[:1])), arrays["out_image_untruncated"]) <= 1e-5
    two = generator.map(z[:1], truncation=0.7, truncation_layers=2)
    assert two.shape == (1, len(generator.layers), generator.dim)
    assert largest(generator.decode(two), arrays["out_image_psi0.7_layers2"]) <= 1e-5
    mean = conformance.state_dict(name)["truncation.w_avg"]
    assert torch.allclose(generator.map(z, truncation=0.0), mean.expand(2, -1), atol=1e-6)


def test_progan_ignores_the_length_of_a_code(generators):
    generator, arrays = generators["sefa_pggan"], conformance.arrays("sefa_pggan")
    z = torch.from_numpy(arrays["in_z"])
    assert largest(generator.decode(z), arrays["out_image_raw_z"]) <= 1e-5
    assert torch.allclose(generator.decode(3 * z[:, None]), generator.decode(z), atol=1e-5)
    assert torch.allclose(generator.map(z).square().mean(1), torch.ones(2), atol=1e-5)
    assert generator.layers == ("layer0",)


def selections() -> list[tuple[str, str]]:
    return [(name, selection) for name in STYLED for selection in ("all", "0-3")] + [("sefa_pggan", "all")]


@pytest.mark.parametrize(("name", "selection"), selections())
def test_sefa_finds_the_official_directions_and_edits(generators, name, selection):
    generator = generators[name]
    codes, arrays = official_codes(generator, name)
    names = tuple(generator.style_weights())
    slots = list(range(4 if selection == "0-3" else len(generator.layers)))
    found = SeFa(k=8, layers=names[:4] if selection == "0-3" else None).fit(generator)
    ours = torch.stack([direction.vector for direction in found])
    official = torch.from_numpy(arrays[f"out_boundaries_{selection}_first6"])
    rank = [int(np.sum(arrays[f"out_eigenvalues_{selection}"] > v)) for v in arrays[f"out_eigenvalues_{selection}"][:6]]
    signs = torch.sign((ours[rank] * official).sum(1, keepdim=True))
    assert (ours[rank] * signs - official).abs().max() <= TOLERANCE
    raw = torch.stack([direction.vector for direction in SeFa(variant="raw", k=8).fit(generator)])
    assert (raw[rank] * torch.sign((raw[rank] * official).sum(1, keepdim=True)) - official).abs().max() > 1e-3
    edits = [key for key in arrays if re.fullmatch(rf"out_image_{selection}_i\d+_d[+-]\d+", key)]
    assert len(edits) == 3
    for key in edits:
        i, strength = (int(text) for text in re.findall(r"_i(\d+)_d([+-]\d+)", key)[0])
        edited = (codes[:1] if codes.ndim == 3 else codes[:1, None]).clone()
        edited[:, slots] += strength * ours[rank[i]] * signs[i]
        assert largest(generator.decode(edited), arrays[key]) <= TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_half_stored_weights(name, tmp_path):
    generator = load(conformance.checkpoint(name, tmp_path, half=True))
    codes, arrays = official_codes(generator, name)
    assert largest(generator.decode(codes), arrays["out_image"]) <= HALF_TOLERANCE


@pytest.mark.parametrize("name", STYLED)
def test_every_slot_is_heard_and_one_code_stands_for_all(generators, name):
    generator = generators[name]
    codes = generator.sample_codes([1, 2])
    one = generator.decode(codes[:1])
    slots = codes[:1, None].repeat(1, len(generator.layers), 1)
    assert torch.allclose(generator.decode(slots), one, atol=1e-5)
    for i in range(len(generator.layers)):
        mixed = slots.clone()
        mixed[:, i] = codes[1]
        assert (generator.decode(mixed) - one).abs().max() > 1e-3
    assert generator.layers[:2] == ("layer0", "layer1") and len(generator.layers) == 8


@pytest.mark.parametrize("name", STYLED)
def test_noise(generators, name):
    generator = generators[name]
    codes = generator.sample_codes([1, 2, 3])
    stored, none, seeded = (generator.decode(codes, noise=noise) for noise in ("stored", "none", 5))
    assert (stored - none).abs().max() > 1e-3 and (stored - seeded).abs().max() > 1e-3
    assert torch.equal(seeded, generator.decode(codes, noise=5))
    assert torch.allclose(seeded[1:2], generator.decode(codes[1:2], noise=5), atol=1e-5)
    assert (seeded - generator.decode(codes, noise=6)).abs().max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_the_container_does_not_change_the_id(generators, name, tmp_path):
    state = conformance.state_dict(name)
    torch.save({"generator": state}, tmp_path / "zip.pt")
    torch.save(state, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "x.safetensors")
    for file in ("zip.pt", "legacy.pth", "x.safetensors"):
        assert load(tmp_path / file).id == generators[name].id


def test_the_averaged_network_comes_first(tmp_path):
    state = conformance.state_dict("sefa_pggan")
    other = {name: tensor + 1 for name, tensor in state.items()}
    torch.save({"generator": other, "discriminator": other, "generator_smooth": state}, tmp_path / "x.pt")
    chosen = FAMILY.find(read_checkpoint(tmp_path / "x.pt"))
    assert chosen is not None
    found = chosen.found
    assert found.part == "generator_smooth"
    assert torch.equal(found.tensors["layer1.bias"], state["layer1.bias"])


# Networks of other sizes, filled with random numbers.


@pytest.mark.parametrize("state", [stylegan_state, stylegan2_state, pggan_state])
@pytest.mark.parametrize("side", [8, 64])
def test_sizes_come_from_shapes(state, side, tmp_path):
    generator = load(save(tmp_path / "x.pt", state(side)))
    assert (generator.z_dim, generator.resolution) == (10, side)
    codes = generator.sample_codes(range(3), truncation=0.5)
    pictures = generator.decode(codes)
    assert pictures.shape == (3, 3, side, side) and torch.isfinite(pictures).all()
    assert torch.allclose(generator.decode(codes[1:2]), pictures[1:2], atol=1e-4)
    assert all(weight.shape[1] == generator.dim for weight in generator.style_weights().values())
    assert [slot.name for slot in generator.slots] == list(generator.layers)


@pytest.mark.parametrize("state", [stylegan_state, stylegan2_state])
def test_a_class_enters_the_mapping(state, tmp_path):
    tensors = state(8, labels=5)
    generator = load(save(tmp_path / "x.pt", tensors))
    assert (generator.labels, generator.z_dim, generator.content_of_label(2)) == (5, 10, None)
    z = torch.randn(2, 10, generator=torch.Generator().manual_seed(0))
    x = torch.cat([z, tensors["mapping.label_weight"][3].expand(2, -1)], 1).double()
    x = x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()
    inner, outer = (2**0.5, 1.0) if state is stylegan_state else (1.0, 2**0.5)
    for i in range(3):
        weight, bias = (tensors[f"mapping.dense{i}.{name}"].double() for name in ("weight", "bias"))
        x = F.leaky_relu(x @ weight.T * (0.01 * inner / weight.shape[1] ** 0.5) + bias * 0.01, 0.2) * outer
    assert (generator.map(z, label=3) - x).abs().max() <= 1e-5
    assert (generator.map(z, label=4) - x).abs().max() > 1e-4
    with pytest.raises(LatentEditError, match="classes 0 to 4"):
        generator.map(z, label=5)
    assert generator.decode(generator.map(z, label=3)).shape == (2, 3, 8, 8)


def test_a_class_of_progan_is_content(tmp_path):
    path = save(tmp_path / "x.pt", pggan_state(16, 13))
    generator = load(path, labels="3")
    assert (generator.dim, generator.labels) == (10, 3)
    codes = generator.sample_codes(range(2))
    pictures = [generator.decode(codes, content=generator.content_of_label(label)) for label in range(3)]
    assert torch.equal(pictures[0], generator.decode(codes)) and (pictures[0] - pictures[1]).abs().max() > 1e-3
    assert torch.allclose(generator.decode(2 * codes), pictures[0], atol=1e-4)
    assert load(path).dim == 13
    for labels in ("13", "x"):
        with pytest.raises(LatentEditError, match="give 0 to 12"):
            load(path, labels=labels)


def test_up_sampling_and_convolution_are_one_kernel():
    random = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 3, 5, 5, generator=random), torch.randn(4, 3, 3, 3, generator=random)
    doubled = F.interpolate(x, scale_factor=2, mode="nearest")
    plain = F.conv_transpose2d(x, up_kernel(weight, fused=False), stride=2, padding=1)
    fused = F.conv_transpose2d(x, up_kernel(weight, fused=True), stride=2, padding=1)
    assert torch.allclose(plain, F.conv2d(doubled, weight, padding=1), atol=1e-5)
    assert torch.allclose(fused, F.conv2d(doubled, weight.flip((2, 3)), padding=1), atol=1e-5)
    assert (plain - fused).abs().max() > 0.1


def test_transposed_convolutions_from_128_pixels_on(tmp_path):
    state = stylegan_state(128)
    flipped = {**state, "synthesis.layer10.weight": state["synthesis.layer10.weight"].flip((2, 3))}
    new, old = load(save(tmp_path / "new.pt", state)), load(save(tmp_path / "old.pt", old_stylegan(state, fused=[])))
    fused = load(save(tmp_path / "fused.pt", old_stylegan(state, fused=[10])))
    same = load(save(tmp_path / "same.pt", old_stylegan(flipped, fused=[])))
    codes = new.sample_codes(range(2))
    pictures = new.decode(codes)
    assert "128" in new.notes[0] and not load(save(tmp_path / "64.pt", stylegan_state(64))).notes
    assert torch.allclose(fused.decode(codes), pictures, atol=1e-4)
    assert torch.allclose(same.decode(codes), pictures, atol=1e-4)
    assert (old.decode(codes) - pictures).abs().max() > 0.1


def test_progan_with_transposed_convolutions(tmp_path):
    state = pggan_state(32, fused=True)
    plain = dict(state)
    for i in (2, 4, 6):
        plain[f"layer{i}.weight"] = state[f"layer{i}.weight"].transpose(0, 1).flip((2, 3))
    a, b = load(save(tmp_path / "a.pt", state)), load(save(tmp_path / "b.pt", plain))
    assert torch.allclose(a.decode(a.sample_codes([1])), b.decode(b.sample_codes([1])), atol=1e-3)


def old_stylegan(state: dict[str, Tensor], *, fused: list[int]) -> dict[str, Tensor]:
    """The same network under the names of genforce/interfacegan."""
    old = {"truncation.truncation": torch.ones(1, 8, 1)}
    for name, tensor in state.items():
        name = re.sub(r"(mapping\.dense\d+)\.weight", r"\1.linear.weight", name)
        name = re.sub(r"(mapping\.dense\d+)\.bias", r"\1.wscale.bias", name)
        name = re.sub(r"(layer\d+)\.style\.weight", r"\1.epilogue.style_mod.dense.linear.weight", name)
        name = re.sub(r"(layer\d+)\.style\.bias", r"\1.epilogue.style_mod.dense.wscale.bias", name)
        name = re.sub(r"(layer\d+)\.(bias|apply_noise)", r"\1.epilogue.\2", name)
        name = name.replace(".const", ".first_layer")
        if found := re.fullmatch(r"synthesis\.layer(\d+)\.weight", name):
            if int(found[1]) in fused:
                tensor = tensor.permute(2, 3, 1, 0)
            else:
                name = name.replace(".weight", ".conv.weight")
        name = re.sub(r"(output\d+)\.weight", r"\1.conv.weight", name)
        old[name] = tensor
    return old


def test_the_older_names_of_interfacegan(tmp_path):
    state = conformance.state_dict("sefa_stylegan")
    generator = load(save(tmp_path / "s.pth", old_stylegan(state, fused=[])))
    codes, arrays = official_codes(generator, "sefa_stylegan")
    assert largest(generator.decode(codes), arrays["out_image"]) <= 1e-5
    old = {}
    for name, tensor in conformance.state_dict("sefa_pggan").items():
        if found := re.fullmatch(r"layer(\d+)\.(weight|bias)", name):
            old[f"layer{int(found[1]) + 1}.{'conv.weight' if found[2] == 'weight' else 'wscale.bias'}"] = tensor
    old["output_32x32.conv.weight"] = conformance.state_dict("sefa_pggan")["output3.weight"]
    old["output_32x32.wscale.bias"] = conformance.state_dict("sefa_pggan")["output3.bias"]
    generator = load(save(tmp_path / "p.pth", old))
    codes, arrays = official_codes(generator, "sefa_pggan")
    assert generator.layers == ("layer1",) and largest(generator.decode(codes), arrays["out_image"]) <= 1e-5


def test_noise_that_is_constant_over_pixels(tmp_path):
    state = stylegan_state(8)
    state["synthesis.layer1.apply_noise.weight"] = torch.randn(4, 4)
    state["synthesis.layer1.apply_noise.noise"] = torch.randn(1, 16, 1, 1)
    generator = load(save(tmp_path / "x.pt", state))
    codes = generator.sample_codes([1])
    assert (generator.decode(codes) - generator.decode(codes, noise="none")).abs().max() > 1e-3


# Files that cannot be used.


@pytest.mark.parametrize(
    ("state", "missing"),
    [
        (stylegan_state, "synthesis.layer3.style.weight"),
        (stylegan_state, "synthesis.output1.bias"),
        (stylegan2_state, "synthesis.layer2.noise"),
        (stylegan2_state, "truncation.w_avg"),
        (pggan_state, "layer3.weight"),
    ],
)
def test_a_missing_tensor_is_named(state, missing, tmp_path):
    tensors = state(8)
    load(save(tmp_path / "whole.pt", tensors))
    del tensors[missing]
    with pytest.raises(DamagedFileError, match=re.escape(missing)) as error:
        load(save(tmp_path / "x.pt", tensors))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("state", [stylegan_state, stylegan2_state, pggan_state])
def test_a_tensor_of_another_shape_is_named(state, tmp_path):
    tensors = state(8)
    name = next(name for name in tensors if name.endswith("layer2.bias"))
    tensors[name] = tensors[name][:-1]
    with pytest.raises(DamagedFileError, match="layer2|convs.1") as error:
        load(save(tmp_path / "x.pt", tensors))
    assert "\n" not in str(error.value)


def test_a_truncated_file_is_refused(files, tmp_path):
    whole = files["sefa_pggan"].read_bytes()
    (tmp_path / "x.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedFileError, match="truncated") as error:
        load(tmp_path / "x.pt")
    assert "\n" not in str(error.value)


def refused() -> list[tuple[dict[str, Tensor], str]]:
    growing, w_per_layer, skip = stylegan_state(8), stylegan_state(8), stylegan2_state(16)
    first, dense = stylegan_state(8), pggan_state(8)
    growing["synthesis.lod"] = torch.tensor(1.5)
    dense["lod"] = torch.tensor(1.0)
    w_per_layer["mapping.dense2.weight"], w_per_layer["mapping.dense2.bias"] = torch.randn(48, 14), torch.randn(48)
    w_per_layer["truncation.w_avg"] = torch.randn(48)
    first["synthesis.layer0.weight"] = torch.randn(16, 12, 4, 4)
    del skip["synthesis.output1.weight"]
    return [(growing, "still growing"), (dense, "still growing"), (w_per_layer, "a code per layer"),
            (first, "instead of a constant"), (skip, "skip architecture")]  # fmt: skip


@pytest.mark.parametrize(("state", "reason"), refused())
def test_variants_that_are_not_read_say_why(state, reason, tmp_path):
    with pytest.raises(LatentEditError, match=reason) as error:
        load(save(tmp_path / "x.pt", state))
    assert "\n" not in str(error.value)


def test_only_progan_has_an_option(tmp_path):
    with pytest.raises(LatentEditError, match="labels is for ProGAN"):
        load(save(tmp_path / "x.pt", stylegan_state(8)), labels="2")
    with pytest.raises(LatentEditError, match="no option size"):
        load(tmp_path / "x.pt", size="2")


@pytest.mark.parametrize("name", ["rosinality_stylegan2", "gansnroses", "stylegan2_ada", "stylegan3_t"])
def test_files_of_other_families_are_not_taken(name, tmp_path):
    assert FAMILY.find(read_checkpoint(save(tmp_path / "x.pt", conformance.state_dict(name)))) is None
