"""The bundled generator: what users and the other modules rely on."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.generators import Generator, load_generator
from latentedit.generators.avatar import AvatarNetworks
from latentedit.generators.base import seed_latents, weights_id
from latentedit.generators.networks import avatar as network
from latentedit.pictures.images import list_pictures, read_picture
from latentedit.shipped import shipped
from latentedit.taggers import load_tagger

generator = load_generator("avatar")


def test_it_fulfils_the_contract():
    assert isinstance(generator, Generator)
    assert generator.layers == network.Decoder.slots and generator.resolution == 128
    codes = generator.sample_codes(range(3))
    assert codes.shape == (3, generator.dim) and codes.dtype == torch.float32
    images = generator.decode(codes)
    assert images.shape == (3, 3, 128, 128) and images.dtype == torch.float32
    assert set(generator.style_weights()) == set(generator.layers)
    assert all(w.shape[1] == generator.dim for w in generator.style_weights().values())


def test_seeds_follow_the_convention_and_do_not_depend_on_the_batch():
    z = np.random.RandomState(17).randn(1, generator.z_dim)
    assert np.array_equal(seed_latents([17], generator.z_dim).numpy(), z.astype(np.float32))
    together, alone = generator.sample_codes(range(12, 24)), generator.sample_codes([17])
    assert (together[5] - alone[0]).abs().max() <= 1e-6
    assert (generator.decode(together)[5] - generator.decode(alone)[0]).abs().max() <= 1e-5
    assert not torch.allclose(together[4], alone[0], atol=0.1)


def test_slots_are_independent_and_equal_codes_in_all_slots_are_the_plain_code():
    a, b = generator.sample_codes([1, 2]).split(1)
    slots = a[:, None].repeat(1, len(generator.layers), 1)
    assert torch.equal(generator.decode(slots), generator.decode(a))
    for i in range(len(generator.layers)):
        mixed = slots.clone()
        mixed[:, i] = b
        assert (generator.decode(mixed) - generator.decode(a)).abs().max() > 1e-3, generator.layers[i]


def test_content_moves_the_face_and_nothing_else():
    codes = generator.sample_codes([3])
    poses = torch.tensor([[0.8, 0.0, 0.0, 0.0], [0.75, 0.27, 0.05, -0.05]])
    upright, turned = generator.decode(codes, content=poses[:1]), generator.decode(codes, content=poses[1:])
    assert torch.equal(upright, generator.decode(codes))
    assert (upright - turned).abs().mean() > 0.05
    undone = network.warp(turned, network.invert(network.affine(poses[1:])), 128)
    straight = network.warp(upright, network.invert(network.affine(poses[:1])), 128)
    middle = slice(40, 88)
    assert (undone - straight)[..., middle, middle].abs().mean() < 0.08  # resampled twice


def test_encoding_reads_pose_and_face_of_unseen_art():
    tagger = load_tagger("avatar")
    art = torch.stack([read_picture(p, 128) for p in list_pictures(shipped("data/targets"))[:64]])
    content, z = generator.encode(art)
    assert content.shape == (64, 4) and z.shape == (64, generator.z_dim)
    redrawn = generator.decode(generator.map(z), content=content)
    colours = [
        i for i, tag in enumerate(tagger.tags) if tag.endswith("_hair") and tag not in ("long_hair", "short_hair")
    ]
    kept = (tagger.score(art)[:, colours] > 0.5) == (tagger.score(redrawn)[:, colours] > 0.5)
    assert kept.all(1).float().mean() > 0.9
    shuffled = (tagger.score(art)[:, colours] > 0.5) == (tagger.score(redrawn.roll(1, 0))[:, colours] > 0.5)
    assert shuffled.all(1).float().mean() < 0.5


def test_encoding_undoes_the_mapping():
    z = seed_latents(range(8), generator.z_dim)
    there = generator._flow(z.double())
    assert torch.allclose(generator._flow(there, backward=True), z.double(), atol=0.05)


def test_truncation_goes_to_the_mean_code():
    codes = generator.sample_codes(range(4))
    half, none = generator.sample_codes(range(4), truncation=0.5), generator.sample_codes(range(4), truncation=0.0)
    assert torch.allclose(half, (codes + none) / 2, atol=1e-6) and torch.allclose(none[0], none[1])
    z = seed_latents(range(4), generator.z_dim)
    slots = generator.map(z, truncation=0.5, truncation_layers=3)
    assert torch.equal(slots[:, 0], half) and torch.equal(slots[:, 3], codes)


def test_the_id_is_of_the_values_not_of_the_container(tmp_path):
    weights = load_file(shipped("data/avatar-generator.safetensors"))
    save_file({name: weights[name].float() for name in reversed(weights)}, tmp_path / "copy.safetensors")
    assert load_generator(f"avatar:{tmp_path / 'copy.safetensors'}").id == generator.id
    weights["mean_code"] = weights["mean_code"] + 1
    save_file(weights, tmp_path / "other.safetensors")
    assert load_generator(f"avatar:{tmp_path / 'other.safetensors'}").id != generator.id
    assert weights_id("a", {"x": torch.ones(2)}) != weights_id("a", {"x": torch.ones(2) * 2})


def test_files_with_and_without_a_finish_and_the_smaller_encoder_are_read(tmp_path):
    networks = AvatarNetworks.of(load_file(shipped("data/avatar-generator.safetensors")))
    networks.load_state_dict(generator.networks.state_dict())
    bare, whole = AvatarNetworks(finish=False, reader=False), AvatarNetworks()
    for name in ("flow", "styler", "pose_encoder"):
        for other in (bare, whole):
            getattr(other, name).load_state_dict(getattr(networks, name).state_dict())
    known = {name: value for name, value in networks.decoder.state_dict().items() if not name.startswith("finish.")}
    bare.decoder.load_state_dict(known)
    whole.decoder.load_state_dict(known, strict=False)
    codes = generator.sample_codes(range(2))

    def saved(name, networks):
        save_file(networks.state_dict(), tmp_path / name)
        return load_generator(f"avatar:{tmp_path / name}")

    without, unchanged = saved("bare.safetensors", bare), saved("whole.safetensors", whole)
    assert torch.equal(without.decode(codes), unchanged.decode(codes))  # a finish that is not trained does nothing
    torch.nn.init.normal_(whole.decoder.finish.change.weight, 0.0, 0.1)
    finished = saved("finished.safetensors", whole)
    assert (finished.decode(codes) - without.decode(codes)).abs().mean() > 1e-3
    assert len({one.id for one in (without, unchanged, finished)}) == 3

    pictures = generator.decode(codes)
    for one in (without, finished):
        pose, z = one.encode(pictures)
        assert torch.equal(pose, generator.encode(pictures)[0]) and z.shape == (2, one.z_dim)
    upright = torch.rand(2, 3, network.CANONICAL, network.CANONICAL) * 2 - 1
    assert torch.equal(whole.identity(upright), whole.style_encoder(upright))
    assert torch.equal(bare.identity(upright), bare.style_encoder(upright)[0])


def test_bad_input_is_told_in_a_line(tmp_path):
    with pytest.raises(LatentEditError, match="not finite"):
        generator.decode(torch.full((1, generator.dim), float("nan")))
    with pytest.raises(LatentEditError, match="shape"):
        generator.decode(torch.zeros(1, 7))
    with pytest.raises(LatentEditError, match="labels"):
        generator.sample_codes([0], label=1)
    with pytest.raises(LatentEditError, match="z has shape"):
        generator.map(torch.zeros(1, 3))
    with pytest.raises(LatentEditError, match="rows for"):
        generator.decode(torch.zeros(3, generator.dim), content=torch.zeros(2, 4))
    with pytest.raises(LatentEditError, match="seed -1"):
        generator.sample_codes([-1])
    (tmp_path / "cut.safetensors").write_bytes(shipped("data/avatar-generator.safetensors").read_bytes()[:1000])
    with pytest.raises(DamagedFileError, match="cut.safetensors"):
        load_generator(f"avatar:{tmp_path / 'cut.safetensors'}")
    with pytest.raises(DamagedFileError, match="nowhere.safetensors: there is no such file"):
        load_generator(f"avatar:{tmp_path / 'nowhere.safetensors'}")
    with pytest.raises(LatentEditError, match="KIND:"):
        load_generator(str(tmp_path / "cut.safetensors"))
    with pytest.raises(LatentEditError, match="no options"):
        load_generator("avatar?size=3")


def test_half_precision_has_the_same_codes_and_nearly_the_same_pictures():
    half = load_generator("avatar", dtype=torch.bfloat16)
    codes = generator.sample_codes(range(3))
    assert half.id == generator.id and torch.equal(half.sample_codes(range(3)), codes)
    pictures = half.decode(codes)
    assert pictures.dtype == torch.float32
    assert (pictures - generator.decode(codes)).abs().mean() < 0.02
