"""A variational autoencoder of handwritten digits: trained here, written, read, edited and inverted."""

from __future__ import annotations

import json
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

import latentedit as le
from latentedit.checkpoints.checkpoint import read_checkpoint
from latentedit.directions import SeFa
from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.generators.dcgan import FAMILY as DCGAN
from latentedit.generators.vae import FAMILY, VAEGenerator, write_vae

Z = 8


def load(path: Path, dtype: torch.dtype = torch.float32) -> VAEGenerator:
    generator = FAMILY(str(path), {}, device=torch.device("cpu"), dtype=dtype)
    assert isinstance(generator, VAEGenerator)
    return generator


def digits() -> tuple[Tensor, np.ndarray]:
    """Pictures (1797, 1, 8, 8) in [0, 1] and their classes."""
    data = load_digits()
    return torch.from_numpy(data.images).float()[:, None] / 16, data.target


class Trained(NamedTuple):
    decoder: nn.Sequential
    encoder: nn.Sequential
    path: Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """About 6 seconds on one core."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 96), nn.ReLU(), nn.Dropout(0.0), nn.Linear(96, 2 * Z))
    decoder = nn.Sequential(
        nn.Linear(Z, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Unflatten(1, (24, 2, 2)),
        nn.Sequential(nn.ConvTranspose2d(24, 16, 4, 2, 1), nn.LeakyReLU(0.1)),
        nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Sigmoid(),
    )  # fmt: skip
    pictures, _ = digits()
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 3e-3)
    for _ in range(40):
        for batch in torch.randperm(len(pictures)).split(128):
            x = pictures[batch]
            mean, log_variance = encoder(x).chunk(2, 1)
            drawn = decoder(mean + torch.randn_like(mean) * (log_variance / 2).exp())
            divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
            loss = (F.binary_cross_entropy(drawn, x, reduction="sum") + divergence) / len(x)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    torch.set_num_threads(threads)
    torch.set_rng_state(state)
    path = tmp_path_factory.mktemp("vae") / "digits.safetensors"
    write_vae(path, decoder.eval(), encoder=encoder.eval(), range="0..1")
    return Trained(decoder, encoder, path)


@pytest.fixture(scope="module")
def generator(trained: Trained) -> VAEGenerator:
    return load(trained.path)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("n", [1, 4])
def test_pictures_are_those_of_the_torch_module(trained, generator, n, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    codes = generator.sample_codes(range(n))
    with torch.inference_mode():
        expected = (trained.decoder(codes) * 2 - 1).expand(-1, 3, -1, -1)
    got = generator.decode(codes)
    torch.set_num_threads(before)
    assert (got - expected).abs().max() <= 1e-6 and got.shape == (n, 3, 8, 8)
    assert (got - generator.decode(codes + 1)).abs().max() > 0.1
    assert (generator.z_dim, generator.dim, generator.layers, generator.resolution) == (Z, Z, ("z",), 8)


def test_the_file_is_what_the_manual_says(trained):
    with safe_open(trained.path, "pt") as file:
        metadata, names = file.metadata(), set(file.keys())
    assert metadata["format"] == "latentedit-vae" and metadata["schema"] == "1" and metadata["range"] == "0..1"
    decoder = json.loads(metadata["decoder"])
    assert [layer["layer"] for layer in decoder] == [
        "linear", "batch_norm1d", "relu", "unflatten", "conv_transpose2d", "leaky_relu", "conv_transpose2d", "sigmoid"
    ]  # fmt: skip
    assert decoder[4]["stride"] == [2, 2] and decoder[5]["negative_slope"] == 0.1
    assert {"decoder.0.weight", "decoder.1.running_mean", "decoder.4.bias", "encoder.3.weight"} <= names


def test_codes_are_the_prior(generator):
    z = torch.randn(3, Z, generator=torch.Generator().manual_seed(0))
    assert torch.equal(generator.map(z), z)
    assert torch.allclose(generator.map(z, truncation=0.5), z / 2)
    assert torch.equal(generator.decode(z[:, None]), generator.decode(z))
    assert torch.equal(generator.decode(z, noise=4), generator.decode(z, noise="none"))
    with pytest.raises(LatentEditError, match="takes"):
        generator.map(z[:, 1:])


def test_a_direction_of_a_digit_moves_a_classifier(generator):
    pictures, target = digits()
    judge = LogisticRegression(max_iter=2000).fit(pictures.flatten(1), target)
    assert judge.score(pictures.flatten(1), target) > 0.97

    def score(codes: Tensor, digit: int) -> np.ndarray:
        drawn = (generator.decode(codes)[:, 0].flatten(1) + 1) / 2
        return judge.predict_proba(drawn.numpy())[:, digit]

    codes, unseen = generator.sample_codes(range(1500)), generator.sample_codes(range(5000, 5200))
    for digit in (0, 4, 6):
        moments = le.Moments(Z, ["digit"], generator_id=generator.id, layers=generator.layers)
        moments.update(codes, (score(codes, digit) >= 0.5)[:, None].astype(float), groups=np.arange(len(codes)))
        bank = le.fit_directions(moments, finder="linear")
        bank.check_generator(generator)
        before = score(unseen, digit).mean()
        up, down = (score(bank.edit(unseen, {"digit": strength}), digit).mean() for strength in (2.0, -2.0))
        step = bank.edit(unseen, {"digit": 2.0}) - unseen
        across = torch.from_numpy(np.random.RandomState(digit).randn(1, Z)).float()
        across -= (across @ step[0]) / step[0].square().sum() * step[0]
        elsewhere = score(unseen + across / across.norm() * step[0].norm(), digit).mean()
        assert up > before + 0.2 and down < before and up > elsewhere + 0.2


def test_sefa_factorises_the_first_layer(trained, generator):
    weight = trained.decoder[0].weight.detach()
    assert {name: w.shape for name, w in generator.style_weights().items()} == {"decoder.0": weight.shape}
    v = torch.linalg.svd(weight.double(), full_matrices=False).Vh[:2].float()
    ours = torch.stack([direction.vector for direction in SeFa(variant="raw", k=2).fit(generator)])
    assert ((ours * v).sum(1).abs() - 1).abs().max() <= 1e-5


def test_pictures_are_inverted(trained, generator):
    pictures = digits()[0][:200] * 2 - 1
    codes = generator.invert(pictures.expand(-1, 3, -1, -1))
    with torch.inference_mode():
        assert (codes - trained.encoder((pictures + 1) / 2)[:, :Z]).abs().max() <= 1e-5
    assert torch.allclose(generator.invert(pictures), codes, atol=1e-5)
    again = generator.decode(codes)[:, :1]
    error = (again - pictures).square().mean()
    assert error < 0.5 * (pictures.mean(0) - pictures).square().mean()
    assert error < 0.5 * (generator.decode(generator.sample_codes(range(200)))[:, :1] - pictures).square().mean()
    with pytest.raises(LatentEditError, match="give \\(n, 3, 8, 8\\)"):
        generator.invert(torch.zeros(1, 3, 16, 16))


def test_a_decoder_alone(trained, generator, tmp_path):
    write_vae(tmp_path / "x.safetensors", trained.decoder, range="0..1")
    alone = load(tmp_path / "x.safetensors")
    codes = alone.sample_codes([3])
    assert (alone.decode(codes) - generator.decode(codes)).abs().max() <= 1e-6 and alone.id != generator.id
    with pytest.raises(LatentEditError, match="has no encoder; write one"):
        alone.invert(torch.zeros(1, 3, 8, 8))


def test_the_same_network_comes_through_a_factory(trained, generator, tmp_path, monkeypatch):
    torch.save(trained.decoder.state_dict(), tmp_path / "decoder.pt")
    (tmp_path / "digits_vae.py").write_text(
        textwrap.dedent("""
            import torch
            from torch import nn


            class Digits(nn.Module):
                dim = 8

                def __init__(self, path):
                    super().__init__()
                    self.decoder = nn.Sequential(
                        nn.Linear(8, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Unflatten(1, (24, 2, 2)),
                        nn.Sequential(nn.ConvTranspose2d(24, 16, 4, 2, 1), nn.LeakyReLU(0.1)),
                        nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Sigmoid(),
                    )
                    self.decoder.load_state_dict(torch.load(path, weights_only=True))

                def decode(self, codes):
                    return self.decoder(codes) * 2 - 1
            """),
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = le.load_generator(f"torch:digits_vae:Digits?path={tmp_path / 'decoder.pt'}")
    codes = own.sample_codes(range(4))
    assert torch.equal(codes, generator.sample_codes(range(4)))
    assert (own.decode(codes) - generator.decode(codes)).abs().max() <= 1e-6
    assert own.id != generator.id


def test_half_precision_and_float64(trained, generator, tmp_path):
    codes = generator.sample_codes(range(2))
    with safe_open(trained.path, "pt") as file:
        tensors, metadata = {name: file.get_tensor(name).half() for name in file.keys()}, file.metadata()  # noqa: SIM118
    save_file(tensors, tmp_path / "half.safetensors", metadata)
    assert (load(tmp_path / "half.safetensors").decode(codes) - generator.decode(codes)).abs().max() <= 2e-2
    double = load(trained.path, torch.float64)
    assert (double.decode(codes) - generator.decode(codes)).abs().max() <= 1e-5 and double.id == generator.id


def decoders() -> dict[str, tuple[nn.Sequential, int]]:
    return {
        "linear layers alone": (nn.Sequential(nn.Linear(5, 12), nn.ELU(0.5), nn.Linear(12, 75), nn.Tanh(),
                                nn.Unflatten(1, (3, 5, 5))), 5),
        "convolution first": (nn.Sequential(nn.Unflatten(1, (6, 1, 1)), nn.ConvTranspose2d(6, 4, 4), nn.GELU("tanh"),
                              nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), nn.SiLU(),
                              nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4, 1e-3), nn.Identity(),
                              nn.Conv2d(4, 3, 1, bias=False), nn.Tanh()), 8),
        "no square of one pixel": (nn.Sequential(nn.Unflatten(1, (2, 2, 2)), nn.Conv2d(2, 4, 1), nn.ReLU(),
                                   nn.ConvTranspose2d(4, 1, 3, stride=2, padding=1, output_padding=1, groups=1)), 4),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(decoders()))
def test_other_shapes_and_every_layer(name, tmp_path):
    decoder, side = decoders()[name]
    for module in decoder:
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
    before = torch.get_rng_state()
    write_vae(tmp_path / "x.safetensors", decoder.train(), range="-1..1")
    generator = load(tmp_path / "x.safetensors")
    assert torch.equal(torch.get_rng_state(), before) and decoder.training
    codes = generator.sample_codes(range(3))
    with torch.inference_mode():
        expected = decoder.eval()(codes)
    got = generator.decode(codes)
    assert generator.resolution == side and (got - expected).abs().max() <= 1e-6
    (weight,) = generator.style_weights().values()
    first = next(module for module in decoder if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)))
    head = decoder[: list(decoder).index(first) + 1]
    step = torch.randn(1, generator.dim, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        moved = (head(codes + step) - head(codes)).flatten(1)
    assert (moved - step @ weight.T).abs().max() <= 1e-5


# What is refused.


class Mine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize(
    ("decoder", "encoder", "reason"),
    [
        ([nn.Linear(4, 16), Mine(), nn.Unflatten(1, (1, 4, 4))], None, "decoder.1 is Mine; this layout has"),
        ([nn.Sequential(nn.Linear(4, 16), nn.PReLU())], None, "decoder.0.1 is PReLU"),
        ([nn.Linear(4, 16), nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 1, 3, padding="same")], None, "zeros and numbers"),
        ([nn.Linear(4, 16), nn.BatchNorm1d(16, track_running_stats=False)], None, "no running statistics"),
        ([nn.Linear(4, 4), nn.Unflatten(1, (1, 2, 2)), nn.Upsample(size=4)], None, "give a scale_factor"),
        ([nn.Linear(4, 15), nn.Unflatten(1, (5, 1, 3))], None, "pictures of 5 channels"),
        ([nn.Linear(4, 16)], None, "pictures are"),
        ([nn.Linear(4, 16), nn.Linear(15, 16)], None, "does not take"),
        ([nn.ReLU(), nn.Linear(4, 16)], None, "first layer is ReLU"),
        ([], None, "first layer is missing"),
        ([nn.Linear(4, 16), nn.Unflatten(1, (1, 4, 4))], [nn.Flatten(), nn.Linear(16, 4)], "mean and log variance"),
        ([nn.Linear(4, 16), nn.Unflatten(1, (1, 4, 4))], [nn.Flatten(), nn.Linear(15, 8)], "encoder does not take"),
    ],
)
def test_what_the_layout_cannot_hold_is_not_written(decoder, encoder, reason, tmp_path):
    with pytest.raises(LatentEditError, match=reason) as error:
        write_vae(
            tmp_path / "x.safetensors", nn.Sequential(*decoder), range="0..1",
            encoder=None if encoder is None else nn.Sequential(*encoder),
        )  # fmt: skip
    assert not list(tmp_path.iterdir()) and "\n" not in str(error.value)


def test_the_range_is_one_of_two(tmp_path):
    with pytest.raises(LatentEditError, match="give -1..1 or 0..1"):
        write_vae(tmp_path / "x.safetensors", nn.Sequential(nn.Linear(4, 16)), range="0..255")


def changed(trained: Trained, path: Path, *, drop: str = "", extra: str = "", **metadata: str | None) -> Path:
    with safe_open(trained.path, "pt") as file:
        tensors, known = {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118
    if drop:
        del tensors[drop]
    if extra:
        tensors[extra] = torch.zeros(3)
    known |= metadata
    save_file(tensors, path, {key: value for key, value in known.items() if value is not None})
    return path


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"drop": "decoder.0.weight"}, "decoder.0 is a linear with other or missing tensors"),
        ({"drop": "decoder.1.running_var"}, "decoder.1 is a batch_norm1d"),
        ({"extra": "decoder.2.weight"}, "decoder.2 is a relu with other"),
        ({"extra": "decoder.40.weight"}, "decoder.40.weight belongs to no layer"),
        ({"extra": "discriminator.0.weight"}, "discriminator.0.weight belongs to no layer"),
        ({"schema": "2"}, "install a newer one"),
        ({"range": "0..255"}, "range is '0..255'"),
        ({"decoder": None}, "belongs to no layer"),
        ({"decoder": "[1, 2]"}, "no JSON list of layers"),
        ({"decoder": "{"}, "no JSON list of layers"),
        ({"decoder": '[{"layer": "exec"}]'}, "decoder.0 is a layer 'exec'; known are linear"),
        ({"decoder": '[{"layer": "linear", "out": 3}]'}, "has out; linear takes nothing"),
        ({"decoder": '[{"layer": "upsample", "scale_factor": 1e9}]'}, "at most 64"),
    ],
)
def test_a_damaged_file_says_what_is_wrong(trained, change, reason, tmp_path):
    path = changed(trained, tmp_path / "x.safetensors", **change)
    with pytest.raises(DamagedFileError, match=reason) as error:
        load(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_a_truncated_file(trained, tmp_path):
    whole = trained.path.read_bytes()
    (tmp_path / "x.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedFileError) as error:
        load(tmp_path / "x.safetensors")
    assert "\n" not in str(error.value)


def test_only_these_files_are_taken(trained, tmp_path):
    ours = read_checkpoint(trained.path)
    assert FAMILY.find(ours) is not None and DCGAN.find(ours) is None
    assert FAMILY.find(read_checkpoint(changed(trained, tmp_path / "x.safetensors", format="pt"))) is None


def test_a_sigmoid_of_another_range_is_pointed_out(tmp_path: Path) -> None:
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(Z, 64), nn.Unflatten(1, (1, 8, 8)), nn.Sigmoid())
    with pytest.warns(UserWarning, match=r"below 0, though its range is -1..1; .*range='0..1'"):
        write_vae(tmp_path / "grey.safetensors", decoder, range="-1..1")
    with pytest.warns(UserWarning, match="below 0"):
        le.load_generator(f"vae:{tmp_path / 'grey.safetensors'}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_vae(tmp_path / "right.safetensors", decoder, range="0..1")
        le.load_generator(f"vae:{tmp_path / 'right.safetensors'}")


@pytest.mark.parametrize("decoder", ["dense", "upsampled"])
def test_a_plain_state_dict_says_what_to_do(decoder: str, tmp_path: Path, run: Callable[..., Any]) -> None:
    names: dict[str, nn.Module] = {"project": nn.Linear(8, 96), "up": nn.Conv2d(24, 16, 3), "rgb": nn.Conv2d(16, 3, 3)}
    if decoder == "dense":
        names = {"gate": nn.Bilinear(8, 8, 48), "norm": nn.GroupNorm(2, 48)}
    path = tmp_path / "decoder.pt"
    torch.save(nn.ModuleDict(names).state_dict(), path)
    code, _, err = run("info", path)
    assert code == 1 and err.count("\n") == 1 and "write_vae" in err and "torch:" in err, err
    kinds = ("vae", "stylegan2") if decoder == "dense" else ("dcgan",)
    for kind in kinds:
        with pytest.raises(LatentEditError, match="write_vae") as caught:
            le.load_generator(f"{kind}:{path}")
        assert "torch:" in str(caught.value)
