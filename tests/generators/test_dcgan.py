"""Plain stacks of layers against the torch modules they come from, and the published weights of painted eyes."""

from __future__ import annotations

from pathlib import Path

import conformance
import omniart
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from latentedit.checkpoints.checkpoint import read_checkpoint
from latentedit.directions import SeFa
from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.generators.dcgan import FAMILY
from latentedit.generators.family import FileGenerator


def load(path: Path, **options: str) -> FileGenerator:
    return FAMILY(str(path), options, device=torch.device("cpu"), dtype=torch.float32)


def save(path: Path, thing: object) -> Path:
    torch.save(thing, path)
    return path


def shaken(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and statistics, so that a norm left out or put in another place shows."""
    random = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            scale = 1 / max(tensor[0].numel(), 1) ** 0.5 if tensor.ndim > 1 else 0.2
            tensor.copy_(torch.randn(tensor.shape, generator=random) * scale * 2)
            if name.endswith("running_var"):
                tensor.abs_().add_(0.5)
    return network.eval()


def dcgan(z: int = 20, widths: tuple[int, ...] = (16, 8), channels: int = 3, *, norm: bool = True, bias: bool = False,
          slope: float = 0.0, end: type[nn.Module] = nn.Tanh) -> nn.Sequential:  # fmt: skip
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(zip((z, *widths), (*widths, channels), strict=True)):
        layers.append(nn.ConvTranspose2d(a, b, 4, 1 if i == 0 else 2, 0 if i == 0 else 1, bias=bias))
        if i < len(widths):
            layers += [nn.BatchNorm2d(b)] if norm else []
            layers.append(nn.LeakyReLU(slope) if slope else nn.ReLU())
    return nn.Sequential(*layers, end())


def mlp(
    z: int = 20, widths: tuple[int, ...] = (24, 32), out: int = 784, *, slope: float = 0.2, eps: float = 1e-5
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(zip((z, *widths), (*widths, out), strict=True)):
        layers.append(nn.Linear(a, b))
        if i < len(widths):
            layers += [nn.BatchNorm1d(b, eps)] if i else []  # as is usual, none after the first
            layers.append(nn.LeakyReLU(slope) if slope else nn.ReLU())
    return nn.Sequential(*layers, nn.Tanh())


def named(network: nn.Sequential, prefix: str = "main.") -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}


@torch.inference_mode()
def drawn(network: nn.Module, z: Tensor) -> Tensor:
    first = next(network.parameters())
    pictures = network(z if first.ndim == 2 else z[:, :, None, None])
    if pictures.ndim == 2:
        channels = 1 if round(pictures.shape[1] ** 0.5) ** 2 == pictures.shape[1] else 3
        side = round((pictures.shape[1] // channels) ** 0.5)
        pictures = pictures.reshape(-1, channels, side, side)
    return pictures.expand(-1, 3, -1, -1)


def check(generator: FileGenerator, network: nn.Module, *, same: bool = True) -> None:
    codes = generator.sample_codes(range(4))
    expected = drawn(network, codes)
    difference = (generator.decode(codes) - expected).abs().max()
    assert difference <= 1e-5 if same else difference > 1e-2
    if same:
        assert expected.std() > 0.05 and (expected[0] - expected[1]).abs().max() > 1e-2
        assert (generator.decode(codes[1:2]) - expected[1:2]).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("network", "side"),
    [
        (dcgan(), 16),
        (dcgan(64, (32, 16, 8, 4)), 64),
        (dcgan(channels=1), 16),
        (dcgan(norm=False, bias=True), 16),
        (dcgan(widths=(12, 12, 12, 12)), 64),
    ],
)
def test_stacks_of_transposed_convolutions(network, side, tmp_path):
    shaken(network)
    generator = load(save(tmp_path / "x.pth", named(network)))
    check(generator, network)
    assert generator.resolution == side and generator.layers == ("main.0",) and generator.z_dim == generator.dim
    assert generator.slots[0].width == network[0].out_channels
    assert any("no batch norm" in note for note in generator.notes) == (network[1].__class__ is nn.ReLU)
    assert torch.equal(generator.sample_codes([1], truncation=0.0), torch.zeros(1, generator.dim))


@pytest.mark.parametrize(("network", "side"), [(mlp(), 28), (mlp(out=3 * 32 * 32), 32), (mlp(widths=(32, 32, 32)), 28)])
def test_linear_layers_alone(network, side, tmp_path):
    shaken(network)
    generator = load(save(tmp_path / "x.pth", named(network, "model.")))
    check(generator, network)
    assert generator.resolution == side and "activation=leaky" in generator.notes[0]


class LinearFirst(nn.Module):
    """The norm after the linear layer is 1-d, 2-d or absent."""

    def __init__(self, norm: str, side: int = 7) -> None:
        super().__init__()
        self.fc = nn.Linear(20, 8 * side * side)
        if norm:
            self.bn0 = nn.BatchNorm1d(8 * side * side) if norm == "1d" else nn.BatchNorm2d(8)
        self.deconv1 = nn.ConvTranspose2d(8, 6, 4, 2, 1)
        self.bn1 = nn.BatchNorm2d(6)
        self.deconv2 = nn.ConvTranspose2d(6, 1, 4, 2, 1)
        self.norm, self.side = norm, side

    def forward(self, z: Tensor) -> Tensor:
        x = self.fc(z)
        x = self.bn0(x) if self.norm == "1d" else x
        x = x.reshape(len(z), 8, self.side, self.side)
        x = torch.relu(self.bn0(x) if self.norm == "2d" else x)
        return torch.tanh(self.deconv2(torch.relu(self.bn1(self.deconv1(x)))))


@pytest.mark.parametrize("norm", ["", "1d", "2d"])
@pytest.mark.parametrize("side", [7, 4])
def test_a_linear_layer_first(norm, side, tmp_path):
    network = shaken(LinearFirst(norm, side))
    generator = load(save(tmp_path / "x.pth", network.state_dict()))
    check(generator, network)
    assert generator.resolution == 4 * side and generator.layers == ("fc",)


def test_norms_that_stand_apart_from_their_layers(tmp_path):
    network = shaken(dcgan(widths=(16, 8, 4)))
    state = network.state_dict()
    layers, norms = [0, 3, 6, 9], [1, 4, 7]
    new = {str(i): f"deconv{n}" for n, i in enumerate(layers)} | {str(i): f"bn{n}" for n, i in enumerate(norms)}
    apart = {f"{name}.{k.partition('.')[2]}": t for i, name in new.items() for k, t in state.items() if k[0] == i}
    generator = load(save(tmp_path / "x.pth", apart))
    check(generator, network)
    save_file(apart, tmp_path / "x.safetensors")
    check(load(tmp_path / "x.safetensors"), network)
    assert load(tmp_path / "x.safetensors").id == generator.id


def test_more_than_nine_layers_of_one_width_are_in_order_in_every_container(tmp_path):
    network = shaken(mlp(16, (16,) * 11, 64 * 64))
    state = named(network)
    save_file(state, tmp_path / "x.safetensors")
    check(load(tmp_path / "x.safetensors"), network)
    check(load(save(tmp_path / "x.pth", dict(sorted(state.items())))), network)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"generator": state, "epoch": 3},
        lambda state: {"netG": state, "netD": {"main.0.weight": torch.zeros(8, 3, 4, 4)}},
        lambda state: {"G": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {"state_dict": {f"generator.{name}": tensor for name, tensor in state.items()}
                       | {"discriminator.main.0.weight": torch.zeros(8, 3, 4, 4)}},
        lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {0: {"step": torch.tensor(1.0)}}}},
    ],
)  # fmt: skip
def test_wrappers(wrap, tmp_path):
    network = shaken(dcgan())
    bare = load(save(tmp_path / "bare.pth", named(network)))
    generator = load(save(tmp_path / "x.pth", wrap(named(network))))
    check(generator, network)
    assert generator.id == bare.id and generator.layers == ("main.0",)


@pytest.mark.parametrize("network", [dcgan(slope=0.2, end=nn.Sigmoid), mlp(slope=0.0, eps=0.8), dcgan()])
def test_a_module_saved_whole_tells_what_is_between_its_layers(network, tmp_path):
    shaken(network)
    generator = load(save(tmp_path / "x.pth", {"generator": nn.Sequential(nn.Dropout(), *network).eval()}))
    sigmoid = isinstance(network[-1], nn.Sigmoid)
    codes = generator.sample_codes(range(2))
    expected = drawn(network, codes)
    assert (generator.decode(codes) - (expected * 2 - 1 if sigmoid else expected)).abs().max() <= 1e-5
    assert not any("assumed" in note for note in generator.notes) or isinstance(network[0], nn.ConvTranspose2d)


def test_options_say_what_shapes_do_not(tmp_path):
    network = shaken(dcgan(slope=0.2, end=nn.Sigmoid))
    path = save(tmp_path / "x.pth", named(network))
    codes = load(path).sample_codes(range(2))
    expected = drawn(network, codes) * 2 - 1
    assert (load(path, activation="leaky", range="0..1").decode(codes) - expected).abs().max() <= 1e-5
    assert (load(path, range="0..1").decode(codes) - expected).abs().max() > 1e-3
    assert (load(path, activation="leaky").decode(codes) - expected).abs().max() > 1e-2
    network = shaken(mlp(eps=0.8))
    path = save(tmp_path / "y.pth", named(network))
    check(load(path, eps="0.8"), network)
    check(load(path), network, same=False)
    assert load(path, eps="0.8", activation="leaky", range="-1..1").notes[0].startswith("a class")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "0"}, "give 1 to 19"),
        ({"labels": "20"}, "give 1 to 19"),
        ({"labels": "two"}, "labels is 'two'"),
        ({"range": "0..255"}, "give -1..1 or 0..1"),
        ({"activation": "elu"}, "give relu or leaky"),
        ({"eps": "-1"}, "above 0"),
        ({"size": "64"}, "no option size"),
    ],
)
def test_options_that_do_not_fit(options, message, tmp_path):
    with pytest.raises(LatentEditError, match=message):
        load(save(tmp_path / "x.pth", named(dcgan())), **options)


def test_a_class_beside_the_code(tmp_path):
    network = shaken(dcgan(z=23))
    generator = load(save(tmp_path / "x.pth", named(network)), labels="3")
    assert (generator.z_dim, generator.dim, generator.labels) == (20, 20, 3)
    codes = generator.sample_codes(range(2), label=2)
    assert torch.equal(codes, generator.sample_codes(range(2)))
    for label in range(3):
        rows = torch.cat([codes, torch.eye(3)[label].expand(2, -1)], 1)
        content = generator.content_of_label(label)
        assert (generator.decode(codes, content=content) - drawn(network, rows)).abs().max() <= 1e-5
    weight = generator.style_weights()["main.0"]
    assert weight.shape == (16 * 16, 20)
    picture = network[0].weight[:20].detach().permute(1, 2, 3, 0).flatten(0, 2)
    assert torch.equal(weight, picture)
    with pytest.raises(LatentEditError, match="classes 0 to 2"):
        generator.content_of_label(3)


class TwoInputs(nn.Module):
    """Code and class have a first layer each."""

    def __init__(self, labels: int = 10) -> None:
        super().__init__()
        self.deconv1_1, self.deconv1_1_bn = nn.ConvTranspose2d(20, 8, 4, 1, 0), nn.BatchNorm2d(8)
        self.deconv1_2, self.deconv1_2_bn = nn.ConvTranspose2d(labels, 8, 4, 1, 0), nn.BatchNorm2d(8)
        self.deconv2, self.deconv2_bn = nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.BatchNorm2d(8)
        self.deconv3 = nn.ConvTranspose2d(8, 1, 4, 2, 1)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        x = torch.relu(self.deconv1_1_bn(self.deconv1_1(z[:, :, None, None])))
        y = torch.relu(self.deconv1_2_bn(self.deconv1_2(label[:, :, None, None])))
        x = torch.relu(self.deconv2_bn(self.deconv2(torch.cat([x, y], 1))))
        return torch.tanh(self.deconv3(x))


def test_a_class_with_a_first_layer_of_its_own(tmp_path):
    network = shaken(TwoInputs())
    path = save(tmp_path / "x.pth", network.state_dict())
    generator = load(path)
    assert (generator.dim, generator.labels, generator.layers) == (20, 10, ("deconv1_1",))
    codes = generator.sample_codes(range(2))
    with torch.inference_mode():
        expected = network(codes, torch.eye(10)[[7, 7]])
    got = generator.decode(codes, content=generator.content_of_label(7))
    assert (got - expected).abs().max() <= 1e-5 and got.shape == (2, 3, 16, 16)
    assert (generator.decode(codes) - expected).abs().max() > 1e-2
    assert load(path, labels="10").labels == 10
    with pytest.raises(LatentEditError, match="leave the option out"):
        load(path, labels="3")
    with pytest.raises(LatentEditError, match="which is the class cannot be told"):
        load(save(tmp_path / "y.pth", TwoInputs(20).state_dict()))


def test_sefa_and_slots(tmp_path):
    network = shaken(dcgan())
    generator = load(save(tmp_path / "x.pth", named(network)))
    found = SeFa(variant="raw", k=3).fit(generator)
    weight = network[0].weight.detach().flatten(1).T
    v = torch.linalg.svd(weight.double(), full_matrices=False).Vh[:3].float()
    ours = torch.stack([direction.vector for direction in found])
    assert ((ours * v).sum(1).abs() - 1).abs().max() <= 1e-5
    codes = generator.sample_codes(range(2))
    assert torch.equal(generator.decode(codes[:, None]), generator.decode(codes))
    assert torch.equal(generator.decode(codes, noise=3), generator.decode(codes, noise="none"))


@pytest.mark.parametrize("threads", [1, 2])
def test_painted_eyes_of_every_colour(threads, monkeypatch):
    path = omniart.weight_file()
    assert path is not None, "pip install omniart-eye-generator==0.1"
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    eyes, generator = omniart.eyes().eval(), load(path, labels="8")
    codes = generator.sample_codes([1, 2])
    try:
        for label in range(8):
            with torch.inference_mode():
                expected = eyes.decode(torch.cat([codes, torch.eye(8)[label].expand(2, -1)], 1))
            got = generator.decode(codes, content=generator.content_of_label(label))
            assert (got - expected).abs().max() <= 1e-5
            assert (
                got - generator.decode(codes, content=generator.content_of_label((label + 1) % 8))
            ).abs().max() > 0.1
    finally:
        torch.set_num_threads(before)
    assert (generator.dim, generator.resolution, generator.labels) == (100, 128, 8)
    plain = load(path)
    assert (plain.dim, plain.labels) == (108, 0)
    assert plain.id != generator.id  # other codes and other pictures are another generator
    assert any("?labels=N" in note for note in plain.notes) and not any("?labels" in note for note in generator.notes)
    with torch.inference_mode():
        assert (plain.decode(plain.sample_codes([1])) - eyes.decode(plain.sample_codes([1]))).abs().max() <= 1e-5


def test_containers_and_half_precision(tmp_path):
    network = shaken(dcgan())
    state = named(network)
    ids = {load(save(tmp_path / "x.pth", state)).id}
    torch.save(state, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "x.safetensors")
    ids |= {load(tmp_path / "legacy.pth").id, load(tmp_path / "x.safetensors").id}
    assert len(ids) == 1
    half = load(save(tmp_path / "half.pth", {k: t.half() if t.is_floating_point() else t for k, t in state.items()}))
    codes = half.sample_codes(range(2))
    assert (half.decode(codes) - drawn(network, codes)).abs().max() <= 2e-2
    assert half.id not in ids


# Files that cannot be used.


def without(state: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    assert set(names) <= set(state)
    return {name: tensor for name, tensor in state.items() if name not in names}


def deep() -> dict[str, Tensor]:
    return named(dcgan(widths=(16, 8, 4)))


def five() -> dict[str, Tensor]:
    layers = [nn.ConvTranspose2d(20, 16, 4), nn.BatchNorm2d(16), nn.ConvTranspose2d(16, 3, 5, 2, 2)]
    return named(nn.Sequential(*layers))


def up_sampled() -> dict[str, Tensor]:
    layers = [nn.Linear(20, 8 * 16), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 3, 3)]
    return named(nn.Sequential(*layers))


def embedded() -> dict[str, Tensor]:
    return {"label_emb.weight": torch.randn(10, 10), **named(mlp())}


def instance() -> dict[str, Tensor]:
    norm = nn.InstanceNorm2d(8, affine=True)
    return named(nn.Sequential(nn.ConvTranspose2d(20, 8, 4), norm, nn.ConvTranspose2d(8, 3, 4, 2, 1)))


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (without(deep(), "main.3.weight"), "main.0 gives 16 channels and main.6 takes 8"),
        (without(deep(), "main.4.running_var"), "main.4 holds .* without running_mean and running_var"),
        (deep() | {"main.4.running_mean": torch.zeros(5), "main.4.running_var": torch.ones(5),
                   "main.4.weight": torch.ones(5), "main.4.bias": torch.ones(5)}, "main.4 fits no layer"),
        (five(), "a kernel of 5 x 5"),
        (up_sampled(), "up-sampling"),
        (embedded(), "label_emb is an embedding"),
        (instance(), "main.1 holds bias, weight"),
    ],
)  # fmt: skip
def test_what_leaves_more_than_one_reading_is_refused_with_the_reason(state, reason, tmp_path):
    path = save(tmp_path / "x.pth", state)
    with pytest.raises(LatentEditError, match=reason) as error:
        load(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value) and "torch:package" in str(error.value)


@pytest.mark.parametrize("module", [nn.LeakyReLU(0.01), nn.InstanceNorm2d(16), nn.ELU()])
def test_a_module_saved_whole_that_is_not_read(module, tmp_path):
    network = dcgan()
    network[2] = module
    with pytest.raises(LatentEditError, match=f"module {type(module).__name__}"):
        load(save(tmp_path / "x.pth", network))


def test_strides_of_a_module_saved_whole(tmp_path):
    network = dcgan()
    network[3] = nn.ConvTranspose2d(16, 8, 4, 4, 0)
    with pytest.raises(LatentEditError, match="stride and padding"):
        load(save(tmp_path / "x.pth", network))


def test_a_truncated_file_and_weights_that_are_not_finite(tmp_path):
    whole = save(tmp_path / "x.pth", deep()).read_bytes()
    (tmp_path / "y.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedFileError, match="truncated"):
        load(tmp_path / "y.pth")
    broken = deep()
    broken["main.3.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(DamagedFileError, match="main.3.weight are not finite"):
        load(save(tmp_path / "z.pth", broken))


def others() -> list[nn.Module]:
    return [
        nn.Sequential(nn.Conv2d(3, 8, 4, 2, 1), nn.Conv2d(8, 16, 4, 2, 1), nn.BatchNorm2d(16), nn.Conv2d(16, 1, 4)),
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.Linear(8, 10)),
        nn.Sequential(nn.Linear(784, 64), nn.Linear(64, 10)),
        nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)),
        nn.LSTM(8, 8),
        nn.TransformerEncoderLayer(16, 2),
    ]


@pytest.mark.parametrize("network", others())
def test_networks_that_draw_nothing_are_not_taken(network, tmp_path):
    assert FAMILY.find(read_checkpoint(save(tmp_path / "x.pth", network.state_dict()))) is None


OTHERS = ("rosinality_stylegan2", "gansnroses", "stylegan2_ada", "stylegan3_t", "sefa_stylegan", "sefa_stylegan2")


@pytest.mark.parametrize("name", [*OTHERS, "sefa_pggan"])
def test_files_of_other_families_are_not_taken(name, tmp_path):
    assert FAMILY.find(read_checkpoint(conformance.checkpoint(name, tmp_path))) is None
