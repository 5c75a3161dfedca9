"""NVIDIA's files: both networks, every container, classes, and what is refused."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import conformance
import numpy as np
import pytest
import torch
from nvlabs_files import stylegan2_tensors, write_pickle
from safetensors.torch import save_file
from stylegan3_layers import configuration, tensors_of
from torch import Tensor

from latentedit.checkpoints.checkpoint import Checkpoint, read_checkpoint
from latentedit.checkpoints.trees import module_fields
from latentedit.directions import SeFa
from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.generators.family import FileGenerator
from latentedit.generators.networks.stylegan3 import geometry
from latentedit.generators.nvlabs import FAMILY

BARE = ("stylegan2_ada", "stylegan3_t")
PICKLES = ("stylegan2_ada_pkl", "stylegan3_pkl")


def load(path: Path, **options: str) -> FileGenerator:
    return FAMILY(str(path), options, device=torch.device("cpu"), dtype=torch.float32)


def fixture(name: str, folder: Path) -> Path:
    """The file of a fixture: the official pickle, or a state dict of torch.save."""
    stored = conformance.FIXTURES / name / "network.nosrc.pkl"
    return stored if stored.exists() else conformance.checkpoint(name, folder)


def stylegan3_tensors(**options: Any) -> dict[str, Tensor]:
    return tensors_of(configuration(32, 256, 8, 8), dim=12, z_dim=10, **options)


MAKERS: dict[str, Callable[..., dict[str, Tensor]]] = {"StyleGAN2": stylegan2_tensors, "StyleGAN3": stylegan3_tensors}


def save(path: Path, tree: Any) -> Path:
    torch.save(tree, path)
    return path


@pytest.mark.parametrize("name", BARE + PICKLES)
@pytest.mark.parametrize("threads", [1, 2])
def test_official_outputs(name: str, threads: int, tmp_path: Path) -> None:
    arrays, made = conformance.arrays(name), load(fixture(name, tmp_path))
    z = torch.from_numpy(arrays["in_z"])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        codes, cut = made.map(z), made.map(z, truncation=0.7)
        assert conformance.largest(codes, arrays["out_w"]) < 1e-5
        assert conformance.largest(cut, arrays["out_w_psi0.7"]) < 1e-5
        four = made.decode(codes[[0, 1, 0, 1]])
        assert conformance.largest(four, np.tile(arrays["out_image_psi1"], (2, 1, 1, 1))) < 1e-5
        assert conformance.largest(made.decode(codes[:1]), arrays["out_image_psi1"][:1]) < 1e-5
        assert conformance.largest(made.decode(cut[1:]), arrays["out_image_psi0.7"][1:]) < 1e-5
        assert conformance.largest(made.decode(codes[:1]), arrays["out_image_psi0.7"][:1]) > 1e-2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", BARE + PICKLES)
def test_official_slots_cutoff_and_noise(name: str, tmp_path: Path) -> None:
    arrays, made = conformance.arrays(name), load(fixture(name, tmp_path))
    z, each = torch.from_numpy(arrays["in_z"][:1]), torch.from_numpy(arrays["in_wplus"])
    some = made.map(z, truncation=0.7, truncation_layers=2)
    assert conformance.largest(made.decode(some), arrays["out_image_psi0.7_cutoff2"]) < 1e-5
    assert conformance.largest(made.decode(each), arrays["out_image_wplus"]) < 1e-5
    assert conformance.largest(made.decode(each.roll(1, 1)), arrays["out_image_wplus"]) > 1e-2
    if "out_image_noise_none" in arrays:
        silent = arrays["out_image_noise_none"]
        assert conformance.largest(made.decode(made.map(z), noise="none"), silent) < 1e-5
        assert conformance.largest(made.decode(made.map(z)), silent) > 1e-2
        seeded = made.decode(made.map(z), noise=5)
        assert torch.equal(seeded, made.decode(made.map(z), noise=5))
        assert conformance.largest(seeded, silent) > 1e-2


def test_slots_have_the_official_names(tmp_path: Path) -> None:
    made = load(fixture("stylegan2_ada_pkl", tmp_path))
    assert made.layers == (
        "b4.conv1", "b8.conv0", "b8.conv1", "b16.conv0", "b16.conv1", "b32.conv0", "b32.conv1", "b32.torgb"
    )  # fmt: skip
    assert [slot.resolution for slot in made.slots] == [4, 8, 8, 16, 16, 32, 32, 32]
    assert [slot.width for slot in made.slots] == [24] * 6 + [16] * 2
    third = load(fixture("stylegan3_pkl", tmp_path))
    assert third.layers[:2] + third.layers[-2:] == ("input", "L0_36_16", "L13_32_16", "L14_32_3")
    assert [slot.resolution for slot in third.slots] == [36] * 6 + [52] * 8 + [32] * 2


@pytest.mark.parametrize("name", PICKLES)
def test_the_clamp_is_read_from_the_pickle_and_can_be_overruled(name: str, tmp_path: Path) -> None:
    arrays, path = conformance.arrays(name), fixture(name, tmp_path)
    codes = torch.from_numpy(arrays["out_w"])
    assert load(path).notes == ()
    without = load(path, conv_clamp="none").decode(codes)
    effect = conformance.manifest(name)["conv_clamp_effect_max_abs"]
    assert abs(conformance.largest(without, arrays["out_image_psi1"]) - effect) < 1e-3
    stated = {"stylegan2_ada_pkl": "1.5", "stylegan3_pkl": "4"}[name]
    bare = save(tmp_path / "bare.pt", conformance.state_dict(name))
    assert conformance.largest(load(bare, conv_clamp=stated).decode(codes), arrays["out_image_psi1"]) < 1e-5
    assert conformance.largest(load(bare).decode(codes), arrays["out_image_psi1"]) > 1e-3


def test_the_derived_geometry_is_that_of_the_pickle() -> None:
    fields = module_fields(read_checkpoint(conformance.FIXTURES / "stylegan3_pkl" / "network.nosrc.pkl").tree["G_ema"])
    assert fields is not None
    synthesis = module_fields(fields["_modules"]["synthesis"])
    assert synthesis is not None
    for name in synthesis["layer_names"][:-1]:
        layer = module_fields(synthesis["_modules"][name])
        assert layer is not None
        in_size, out_size = int(layer["in_size"][0]), int(layer["out_size"][0])
        found = geometry(in_size, out_size, layer["conv_kernel"], layer["up_taps"], layer["down_taps"], 6)
        wanted = (layer["up_factor"], layer["down_factor"], in_size, out_size, layer["padding"][0])
        assert found[:5] == wanted, name


@pytest.mark.parametrize("name", BARE)
def test_half_stored_weights(name: str, tmp_path: Path) -> None:
    arrays = conformance.arrays(name)
    made = load(conformance.checkpoint(name, tmp_path, half=True))
    pictures = made.decode(made.map(torch.from_numpy(arrays["in_z"])))
    assert 1e-6 < conformance.largest(pictures, arrays["out_image_psi1"]) < conformance.HALF_TOLERANCE


@pytest.mark.parametrize("network", MAKERS)
def test_one_id_in_every_container(network: str, tmp_path: Path) -> None:
    tensors = MAKERS[network]()
    torch.save({"G_ema": tensors}, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, tmp_path / "x.safetensors")
    made = [
        load(save(tmp_path / "new.pt", {"G_ema": tensors})), load(tmp_path / "legacy.pt"),
        load(tmp_path / "x.safetensors"), load(save(tmp_path / "bare.pt", tensors)),
        load(write_pickle(tmp_path / "x.pkl", tensors, {"conv_clamp": 256})),
    ]  # fmt: skip
    assert len({g.id for g in made}) == 1
    assert made[0].id.startswith("nvlabs:")
    pictures = [g.decode(g.sample_codes([1])) for g in made]
    assert all(torch.equal(picture, pictures[0]) for picture in pictures)
    other = {**tensors, "mapping.w_avg": tensors["mapping.w_avg"] + 1}
    assert load(save(tmp_path / "other.pt", other)).id != made[0].id


def test_the_id_of_a_pickle_is_that_of_its_state_dict(tmp_path: Path) -> None:
    for name in PICKLES:
        bare = load(save(tmp_path / f"{name}.pt", conformance.state_dict(name)))
        assert load(fixture(name, tmp_path)).id == bare.id


@pytest.mark.parametrize(("resolution", "depth", "dim"), [(8, 1, 12), (64, 8, 20)])
@pytest.mark.parametrize("noise", [True, False])
def test_other_stylegan2_sizes(resolution: int, depth: int, dim: int, noise: bool, tmp_path: Path) -> None:
    tensors = stylegan2_tensors(resolution, depth=depth, dim=dim, noise=noise)
    made = load(save(tmp_path / "x.pt", {"G_ema": tensors}))
    assert (made.resolution, made.z_dim, made.dim) == (resolution, 10, dim)
    assert len(made.layers) == 2 * int(math.log2(resolution)) - 2
    codes = made.sample_codes(range(2))
    pictures = made.decode(codes)
    assert pictures.shape == (2, 3, resolution, resolution)
    assert torch.equal(pictures, made.decode(codes, noise="none")) is not noise


def test_grey_pictures_are_repeated(tmp_path: Path) -> None:
    made = load(save(tmp_path / "x.pt", stylegan2_tensors(colours=1)))
    pictures = made.decode(made.sample_codes([1]))
    assert pictures.shape == (1, 3, 16, 16)
    assert torch.equal(pictures[:, 0], pictures[:, 2])
    with pytest.raises(LatentEditError, match="5 channels"):
        load(save(tmp_path / "five.pt", stylegan2_tensors(colours=5)))


@pytest.mark.parametrize("name", BARE)
def test_sefa_reads_the_convolutions_and_the_last_picture_layer(name: str, tmp_path: Path) -> None:
    tensors, made = conformance.state_dict(name), load(fixture(name, tmp_path))
    convolutions = [n for n in tensors if n.endswith("affine.weight") and ".input." not in n]
    chosen = [n for n in convolutions if ".torgb." not in n or ".b32." in n]
    assert [f"{name}.weight" for name in made.style_weights()] == chosen
    stacked = torch.cat([tensors[n] for n in chosen]).double()
    for variant in ("raw", "normalised"):
        rows = stacked if variant == "raw" else stacked / stacked.norm(dim=1, keepdim=True)
        v = torch.linalg.svd(rows, full_matrices=False).Vh[:4].float()
        found = torch.stack([d.vector for d in SeFa(variant=variant, k=4).fit(made)])
        assert ((found * v).sum(1).abs() > 0.9999).all()
        assert ((found * v.roll(1, 0)).sum(1).abs() < 0.1).all()


def mapped(tensors: Mapping[str, Tensor], z: Tensor, label: int) -> Tensor:
    """The official mapping in float64: the class is embedded, normalised, and follows the normalised z."""
    t = {name: tensor.double() for name, tensor in tensors.items()}
    embedded = (
        t["mapping.embed.weight"][:, label] / math.sqrt(t["mapping.embed.weight"].shape[1]) + t["mapping.embed.bias"]
    )
    x = torch.cat([z.double(), embedded.expand(len(z), -1)], 1)
    x = torch.cat(
        [part / part.square().mean(1, keepdim=True).sqrt() for part in x.split([z.shape[1], len(embedded)], 1)], 1
    )
    for i in range(2):
        x = x @ t[f"mapping.fc{i}.weight"].t() * (0.01 / math.sqrt(x.shape[1])) + t[f"mapping.fc{i}.bias"] * 0.01
        x = torch.where(x > 0, x, x * 0.2) * math.sqrt(2)
    return x


@pytest.mark.parametrize("network", MAKERS)
def test_conditional_networks(network: str, tmp_path: Path) -> None:
    tensors = MAKERS[network](labels=5)
    made = load(write_pickle(tmp_path / "x.pkl", tensors, {"c_dim": 5, "conv_clamp": 256}))
    assert (made.labels, made.z_dim, made.dim, made.notes) == (5, 10, 12, ())
    z = torch.randn(3, 10, generator=torch.Generator().manual_seed(0))
    codes = [made.map(z, label=label) for label in range(5)]
    for label, found in enumerate(codes):
        assert (found - mapped(tensors, z, label)).abs().max() < 1e-5
    assert (codes[0] - codes[3]).abs().max() > 1e-2
    assert torch.equal(made.map(z), codes[0])
    assert torch.allclose(made.map(z, label=3, truncation=0), tensors["mapping.w_avg"].expand(3, -1), atol=1e-6)
    assert made.decode(codes[3]).shape[0] == 3
    for wrong in (5, -1):
        with pytest.raises(LatentEditError, match="classes 0 to 4"):
            made.map(z, label=wrong)
    plain = load(write_pickle(tmp_path / "plain.pkl", MAKERS[network]()))
    assert plain.labels == 0
    with pytest.raises(LatentEditError, match="no classes"):
        plain.map(z, label=0)


@pytest.mark.parametrize("network", MAKERS)
def test_attributes_come_before_arguments_and_arguments_before_defaults(network: str, tmp_path: Path) -> None:
    tensors = MAKERS[network]()
    layers = [name.removesuffix(".affine.weight") for name in tensors if name.endswith(".affine.weight")]
    layers = [name for name in layers if ".input" not in name]

    def decode(arguments: Mapping[str, Any], attributes: Mapping[str, Any] | None = None) -> Tensor:
        made = load(write_pickle(tmp_path / "x.pkl", tensors, arguments, attributes))
        return made.decode(made.sample_codes([1]))

    clamped = [load(save(tmp_path / "x.pt", tensors), conv_clamp=value) for value in ("0.5", "none")]
    low, none = (g.decode(g.sample_codes([1])) for g in clamped)
    assert (low - none).abs().max() > 1e-3
    assert torch.equal(decode({"conv_clamp": 0.5}), low)
    assert torch.equal(decode({"synthesis_kwargs": {"conv_clamp": 0.5}}), low)
    assert torch.equal(decode({"synthesis_kwargs": {}}), none)  # the default of stylegan2-ada-pytorch
    attributes = {name: {"conv_clamp": 0.5} for name in layers}
    assert torch.equal(decode({"conv_clamp": 256}, attributes), low)
    attributes[layers[0]] = {"conv_clamp": 3}
    with pytest.raises(DamagedFileError, match="different conv_clamp: 3 and 0.5"):
        decode({}, attributes)
    with pytest.raises(DamagedFileError, match="conv_clamp is 'high'"):
        decode({"conv_clamp": "high"})
    slow = decode({"conv_clamp": None, "mapping_kwargs": {"lr_multiplier": 0.1}})
    faster = {k: v * 10 if k.startswith("mapping.fc") else v for k, v in tensors.items()}
    wanted = load(save(tmp_path / "fast.pt", faster), conv_clamp="none")
    assert torch.allclose(slow, wanted.decode(wanted.sample_codes([1])), atol=1e-5)


def test_stylegan3_arguments(tmp_path: Path) -> None:
    tensors = stylegan3_tensors()
    usual = load(write_pickle(tmp_path / "x.pkl", tensors))
    codes = usual.sample_codes([1])
    scaled = load(write_pickle(tmp_path / "y.pkl", tensors, {"output_scale": 0.5}))
    assert torch.allclose(scaled.decode(codes), usual.decode(codes) * 2)
    assert torch.allclose(load(tmp_path / "x.pkl", output_scale="0.5").decode(codes), usual.decode(codes) * 2)
    wide = load(write_pickle(tmp_path / "z.pkl", tensors, {}, {"synthesis.input": {"bandwidth": 3.0}})).decode(codes)
    assert torch.equal(wide, load(tmp_path / "x.pkl", first_cutoff="3").decode(codes))
    assert (wide - usual.decode(codes)).abs().max() > 1e-4
    with pytest.raises(DamagedFileError, match="no multiples of filter_size 5"):
        load(write_pickle(tmp_path / "v.pkl", tensors, {"filter_size": 5}))


def test_notes_say_what_was_assumed(tmp_path: Path) -> None:
    tensors = stylegan3_tensors()
    (note,) = load(save(tmp_path / "x.pt", tensors)).notes
    assert "conv_clamp 256, output_scale 0.25, first_cutoff 2, filter_size 6" in note
    (note,) = load(tmp_path / "x.pt", conv_clamp="none").notes
    assert "conv_clamp" not in note
    assert load(save(tmp_path / "2.pt", stylegan2_tensors()), conv_clamp="64").notes == ()
    without = {name: tensor for name, tensor in tensors.items() if name != "mapping.w_avg"}
    made = load(save(tmp_path / "mean.pt", without))
    assert "mean of 4096" in made.notes[-1]
    assert (made.map(torch.zeros(1, 10), truncation=0) - tensors["mapping.w_avg"]).abs().max() > 0.1


def test_g_alone_is_taken_with_a_warning(tmp_path: Path) -> None:
    tensors = stylegan2_tensors()
    path = write_pickle(tmp_path / "x.pkl", tensors, {"conv_clamp": 256}, key="none")
    with pytest.warns(UserWarning, match="trained weights .G., since the file has no average of them .G_ema."):
        made = load(path)
    assert made.weights.startswith("trained weights (G)")
    other = {name: tensor + 1 for name, tensor in tensors.items()}
    both = load(save(tmp_path / "both.pt", {"G": other, "G_ema": tensors}))
    assert both.id == made.id
    assert both.weights == "average (G_ema) of a file that also holds the trained weights (G)"


def test_nothing_is_imported_for_a_pickle(tmp_path: Path) -> None:
    load(write_pickle(tmp_path / "x.pkl", stylegan2_tensors()))
    load(fixture("stylegan3_pkl", tmp_path))
    assert not {"torch_utils", "torch_utils.persistence", "dnnlib"} & set(sys.modules)


def test_tensorflow_pickles_are_refused_with_advice(tmp_path: Path) -> None:
    network = b"cdnnlib.tflib.network\nNetwork\n)\x81}X\x04\0\0\0nameX\x01\0\0\0Gsb"
    (tmp_path / "old.pkl").write_bytes(b"\x80\x02" + network * 3 + b"\x87.")
    with pytest.raises(LatentEditError, match=r"TensorFlow.*legacy\.py") as caught:
        load(tmp_path / "old.pkl")
    assert "\n" not in str(caught.value)


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    tensors = stylegan2_tensors()
    orig = {name: t for name, t in tensors.items() if ".torgb." not in name or ".b16." in name}
    for held, word in ((orig, "'orig'"), ({**orig, "synthesis.b8.skip.weight": torch.ones(8, 8, 1, 1)}, "'resnet'")):
        with pytest.raises(LatentEditError, match=f"architecture {word}.*only 'skip'"):
            load(save(tmp_path / "x.pt", held))
    blocks = {f"synthesis.b{size}": {"architecture": "resnet"} for size in (4, 8, 16)}
    with pytest.raises(LatentEditError, match="'resnet'"):
        load(write_pickle(tmp_path / "x.pkl", tensors, {}, blocks))
    convolution = {"synthesis.b4.conv1": {"activation": "relu"}}
    with pytest.raises(LatentEditError, match="activation 'relu'"):
        load(write_pickle(tmp_path / "x.pkl", tensors, {}, convolution))


@pytest.mark.parametrize("network", MAKERS)
def test_a_missing_or_wrong_tensor_is_named_in_one_line(network: str, tmp_path: Path) -> None:
    tensors = MAKERS[network](labels=2)
    path = tmp_path / "x.pt"
    for name in tensors:
        if name == "mapping.w_avg" or name.endswith("_filter"):
            continue
        with pytest.raises(DamagedFileError, match=f"not whole as .*{name} is missing") as caught:
            load(save(path, {k: v for k, v in tensors.items() if k != name}))
        assert "\n" not in str(caught.value)
    for name in [n for n in tensors if n.endswith("affine.weight")]:
        with pytest.raises(DamagedFileError, match=rf"{name} has shape"):
            load(save(path, {**tensors, name: tensors[name][:-1]}))
    with pytest.raises(DamagedFileError, match="synthesis.extra.weight is no part"):
        load(save(path, {**tensors, "synthesis.extra.weight": torch.zeros(1)}))
    with pytest.raises(DamagedFileError, match="not finite"):
        load(save(path, {**tensors, "mapping.fc0.bias": tensors["mapping.fc0.bias"] * math.inf}))


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(share: float, tmp_path: Path) -> None:
    for name in (*BARE[:1], *PICKLES):
        data = fixture(name, tmp_path).read_bytes()
        cut = tmp_path / "cut"
        cut.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(DamagedFileError) as caught:
            load(cut)
        assert "\n" not in str(caught.value)


def test_options_are_checked(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", stylegan2_tensors())
    for value in ("0", "-1", "nan", "inf", "much", ""):
        with pytest.raises(LatentEditError, match="a number above 0, or none"):
            load(path, conv_clamp=value)
    with pytest.raises(LatentEditError, match="StyleGAN2, which has no output_scale"):
        load(path, output_scale="1")
    with pytest.raises(LatentEditError, match="filter_size is '6.5'"):
        load(save(tmp_path / "3.pt", stylegan3_tensors()), filter_size="6.5")
    with pytest.raises(LatentEditError, match="no option clamp"):
        load(path, clamp="1")


def test_only_these_files_are_recognised(tmp_path: Path) -> None:
    trees: list[Any] = [
        {"g_ema": {"style.1.weight": torch.ones(1), "input.input": torch.ones(1)}},
        {"generator_smooth": {"synthesis.early_layer.const": torch.ones(1), "mapping.dense0.weight": torch.ones(1)}},
        {"G_A2B_ema": {"encoder.stem.0.weight": torch.ones(1)}}, {"main.0.weight": torch.ones(1)},
        {"G_ema": None}, [], 5,
    ]  # fmt: skip
    for tree in trees:
        assert FAMILY.find(Checkpoint(tmp_path / "x.pt", "torch zip", tree)) is None
    for key in ("G_ema", "g_ema", "G", "state_dict"):
        chosen = FAMILY.find(Checkpoint(tmp_path / "x.pt", "torch zip", {key: stylegan2_tensors()}))
        assert chosen is not None and chosen.found.part == key
