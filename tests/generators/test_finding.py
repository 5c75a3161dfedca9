"""Which part of a file is the generator: every family × everything that is put around weights."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nvlabs_files import stylegan2_tensors
from safetensors.torch import save_file
from tiny_networks import MAKERS, State, dcgan, discriminator, rosinality
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import latentedit as le
from latentedit.checkpoints.checkpoint import Checkpoint
from latentedit.errors import LatentEditError
from latentedit.generators.family import FileGenerator, families
from latentedit.generators.finding import Chosen


def put(start: str, state: State) -> State:
    """Names with a start."""
    return {start + name: tensor for name, tensor in state.items()}


def within(state: State, wrapper: str) -> State:
    """Names with a wrapper after the first step, as of a module inside that was wrapped."""
    return {".".join((first, wrapper, rest)) if rest else first: tensor for (first, _, rest), tensor in (
        (name.partition("."), tensor) for name, tensor in state.items())}  # fmt: skip


Wrap = Callable[[State, State], Any]
COUNT = torch.tensor(1)
BOTH: dict[str, Wrap] = {  # the average, what was trained
    "ema_pytorch": lambda a, t: {"initted": COUNT, "step": COUNT, **put("online_model.", t), **put("ema_model.", a)},
    "ema_pytorch, wrapped": lambda a, t: put("ema.", put("online_model.module.", t) | put("ema_model.module.", a)),
    "g_ema wrapped, g not": lambda a, t: {"d": discriminator(), "g": t, "g_ema": put("module.", a), "g_optim": {}},
    "G_ema compiled": lambda a, t: {"G": put("module.", t), "D": discriminator(), "G_ema": put("module._orig_mod.", a)},
    "netG_ema": lambda a, t: {"netD": discriminator(), "netG": put("module.", t), "netG_ema": a},
    "generator_smooth": lambda a, t: {"models": {"discriminator": discriminator(), "generator": t,
                                                 "generator_smooth": within(a, "module")}},
    "Lightning": lambda a, t: {"epoch": 3, "hparams": {"lr": 0.1}, "state_dict": put("discriminator.", discriminator())
                               | put("generator.", t) | put("generator_ema.", a)},
    "Lightning in a model": lambda a, t: {"state_dict": put("model.generator.", t) | put("model.ema.module.", a)},
    "a callback": lambda a, t: {"state_dict": put("generator.", t), "callbacks": {"EMA": {"ema_weights":
                                put("generator.", a)}}},
    "ema_state_dict": lambda a, t: {"state_dict": put("G.", t), "ema_state_dict": put("G.", a)},
    "weight averaging": lambda a, t: {"state_dict": put("G.", a), "current_model_state": put("G.", t),
                                      "averaging_state": {"n_averaged": COUNT}},
    "params_ema": lambda a, t: {"params": put("module.", t), "params_ema": a},
    "AveragedModel": lambda a, t: {"model": t, "swa": {"n_averaged": COUNT, **put("module.", a)}},
    "averaged_model": lambda a, t: [{"epoch": 1}, {"model": t, "averaged_model": OrderedDict(put("_orig_mod.", a))}],
    "model_ema": lambda a, t: {"model": t, "model_ema": a, "optimizer": {"state": {0: {"exp_avg": COUNT}}}},
    "g_running": lambda a, t: {"generator": put("module.", t), "g_running": a, "discriminator": discriminator()},
    "shadow_params": lambda a, t: {"net": t, "ema": {"decay": 0.9, "shadow_params": parameters(a)}},
    "shadow": lambda a, t: {"net": t, "shadow": dict(zip(names_of_parameters(a), parameters(a), strict=True))},
    "LitEma": lambda a, t: {"state_dict": put("G.", t) | {"G_ema.decay": torch.tensor(0.9), "G_ema.num_updates": COUNT}
                            | {f"G_ema.{n.replace('.', '')}": a[n] for n in names_of_parameters(a)}},
}  # fmt: skip
ALONE: dict[str, Wrap] = {
    "data parallel": lambda a, t: put("module.", a),
    "compiled": lambda a, t: put("_orig_mod.", a),
    "both": lambda a, t: put("module._orig_mod.", a),
    "compiled inside": lambda a, t: within(a, "_orig_mod"),
    "data parallel inside": lambda a, t: {"G_ema": within(a, "module")},
    "FSDP": lambda a, t: {"model": put("_fsdp_wrapped_module.", within(a, "_checkpoint_wrapped_module"))},
    "DeepSpeed": lambda a, t: {"module": put("module.", a), "optimizer": None, "ds_version": "0.14"},
    "model": lambda a, t: {"model": a},
    "a pair in a list": lambda a, t: [{"d": discriminator()}, {"g_ema": a}],
    "only AveragedModel": lambda a, t: {"n_averaged": COUNT, **put("module.", a)},
    "half an average": lambda a, t: {"g_ema": a},
    "a part of any name": lambda a, t: {"state_dict": put("painter.", a) | put("discriminator.", discriminator())},
    "an attribute model": lambda a, t: {"state_dict": put("model.", a)},
}


def names_of_parameters(state: State) -> list[str]:
    """Those that an optimiser would change, by the names of all four families."""
    ends = ("kernel", "running_mean", "running_var", "tracked", "resample_filter", "noise_const", "w_avg", "lod")
    return [name for name in state if not name.endswith(ends) and not name.startswith("noises.")]


def parameters(state: State) -> list[Tensor]:
    return [state[name] for name in names_of_parameters(state)]


def shared(kind: str, average: State) -> State:
    """Other trained weights, with those buffers that an average of parameters alone does not have."""
    trained = MAKERS[kind](5)
    return trained | {n: t for n, t in average.items() if n not in names_of_parameters(average)}


def found(kind: str, tree: Any, path: Path) -> FileGenerator:
    """The generator that the command line loads; nothing may be warned of."""
    torch.save(tree, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generator = le.load_generator(f"{kind}:{path}")
    assert isinstance(generator, FileGenerator)
    return generator


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FileGenerator]:
    """Each family's, of a file that is nothing but a state dictionary."""
    folder = tmp_path_factory.mktemp("plain")
    return {kind: found(kind, make(0), folder / f"{kind}.pt") for kind, make in MAKERS.items()}


def same(one: FileGenerator, other: FileGenerator) -> bool:
    """Their id and their pictures."""
    codes = one.sample_codes(range(2))
    return one.id == other.id and torch.equal(one.decode(codes), other.decode(codes))


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("wrap", ALONE)
def test_what_is_around_weights_is_taken_off(kind, wrap, plain, tmp_path):
    assert same(found(kind, ALONE[wrap](MAKERS[kind](0), {}), tmp_path / "x.pt"), plain[kind])


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("wrap", BOTH)
def test_the_average_wins_however_each_is_wrapped(kind, wrap, plain, tmp_path):
    average = MAKERS[kind](0)
    trained = shared(kind, average)
    generator = found(kind, BOTH[wrap](average, trained), tmp_path / "x.pt")
    assert same(generator, plain[kind])
    assert generator.weights.startswith("average (") and "also holds the trained weights (" in generator.weights


@pytest.mark.parametrize("kind", MAKERS)
def test_trained_weights_are_others(kind, plain, tmp_path):
    trained = found(kind, shared(kind, MAKERS[kind](0)), tmp_path / "t.pt")
    assert not same(trained, plain[kind]) and trained.weights == ""


def chosen(kind: str, tree: Any) -> Chosen | None:
    return families()[kind].find(Checkpoint(Path("x.pt"), "torch zip", tree))


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("what", ["lacks", "has shape"])
def test_an_average_that_is_not_whole_is_not_used_and_that_is_said(kind, what, tmp_path):
    trained, average = MAKERS[kind](5), MAKERS[kind](0)
    name = names_of_parameters(average)[-1]
    if what == "lacks":
        del average[name]
    else:
        average[name] = torch.zeros(2, 2)
    torch.save({"g": put("module.", trained), "g_ema": average}, tmp_path / "x.pt")
    with pytest.warns(UserWarning, match=rf"trained weights \(g\), since the average g_ema is not used: it.* {what}"):
        generator = le.load_generator(f"{kind}:{tmp_path / 'x.pt'}")
    assert generator.id == found(kind, trained, tmp_path / "plain.pt").id
    assert "g_ema is not used" in str(getattr(generator, "weights", ""))


def test_trained_weights_are_said_where_files_usually_hold_an_average():
    for kind, usual in (("stylegan2", "g_ema"), ("nvlabs", "G_ema"), ("genforce", "generator_smooth")):
        found = chosen(kind, {"d": discriminator(), "g": MAKERS[kind](0)})
        assert found is not None and f"no average of them ({usual})" in found.warnings[0]
        assert (plain := chosen(kind, MAKERS[kind](0))) is not None and plain.warnings == () and plain.weights == ""
    found = chosen("dcgan", {"netD": discriminator(), "netG": dcgan()})
    assert found is not None and found.found.part == "netG" and found.warnings == ()


@pytest.mark.parametrize("kind", MAKERS)
def test_what_judges_pictures_is_never_the_generator(kind):
    good = MAKERS[kind](0)
    for tree in ({"discriminator": discriminator(), "g": good}, put("D.", discriminator()) | put("G.", good),
                 {"state_dict": put("gan.disc.", discriminator()) | put("gan.gen.", good)}):  # fmt: skip
        found = chosen(kind, tree)
        assert found is not None and set(found.found.tensors) == set(good)
    assert chosen(kind, {"discriminator": discriminator(), "D_ema": discriminator()}) is None
    assert kind == "dcgan" or chosen(kind, {"netD_ema": good}) is None


def test_which_of_two_equal_generators_is_taken_is_said():
    found = chosen("stylegan2", {"G_AB": rosinality(0), "G_BA": rosinality(1)})
    assert found is not None and found.found.part == "G_AB"
    assert "one (G_AB) of 2 generators (G_AB, G_BA)" in found.warnings[-1]


def test_no_part_of_other_networks_is_taken_for_a_dcgan(tmp_path):
    others = put("painter.", dcgan()) | put("judge.", discriminator()) | {"attention.gamma": torch.zeros(1)}
    torch.save({"state_dict": others}, tmp_path / "x.pt")
    with pytest.raises(LatentEditError, match="not a DCGAN"):
        le.load_generator(f"dcgan:{tmp_path / 'x.pt'}")


def test_safetensors_with_prefixes(plain, tmp_path):
    for kind, make in MAKERS.items():
        both = put("generator.module.", make(5)) | put("generator_ema.", within(make(0), "_orig_mod"))
        save_file({name: tensor.clone() for name, tensor in both.items()}, tmp_path / f"{kind}.safetensors")
        generator = le.load_generator(f"{kind}:{tmp_path / f'{kind}.safetensors'}")
        assert isinstance(generator, FileGenerator) and same(generator, plain[kind])


def test_a_half_precision_average_beside_float32(tmp_path):
    average, trained = rosinality(0), rosinality(5)
    halved = {name: tensor.half() for name, tensor in average.items()}
    generator = found("stylegan2", {"g": trained, "g_ema": put("module.", halved)}, tmp_path / "x.pt")
    assert same(generator, found("stylegan2", halved, tmp_path / "y.pt")) and generator.weights


def test_modules_that_were_saved_whole_and_wrapped(plain, tmp_path):
    layers = [nn.ConvTranspose2d(6, 4, 4, 1, 0, bias=False), nn.BatchNorm2d(4), nn.ReLU()]
    model = nn.Sequential(OrderedDict(main=nn.Sequential(*layers, nn.ConvTranspose2d(4, 3, 4, 2, 1, bias=False))))
    model.load_state_dict(dcgan() | {"main.1.num_batches_tracked": torch.tensor(0)})
    bare = found("dcgan", model, tmp_path / "x.pt")
    assert "range=-1..1" in bare.notes[0] and "activation" not in bare.notes[0]  # the modules tell
    for wrapped in (nn.DataParallel(model), AveragedModel(model), {"netD": None, "netG": nn.DataParallel(model)}):
        generator = found("dcgan", wrapped, tmp_path / "y.pt")
        assert same(generator, bare) and generator.notes == bare.notes


def test_samples_hold_which_weights_and_which_class(tmp_path):
    tensors = stylegan2_tensors(8, depth=1, labels=3)
    generator = found("nvlabs", {"G": put("module.", tensors), "G_ema": tensors}, tmp_path / "x.pt")
    with pytest.warns(UserWarning, match="3 classes and none is named: class 0 is taken"):
        le.sample(generator, tmp_path / "samples", n=2)
    manifest = le.open_samples(tmp_path / "samples").manifest
    assert manifest.label == 0 and manifest.generator_weights == generator.weights != ""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        le.sample(generator, tmp_path / "named", n=2, label=1)
