"""Which part of a file is the generator: every family × everything that is put around weights."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_networks import MAKERS, State, discriminator
from torch import Tensor

import latentedit as le
from latentedit.generators.family import FileGenerator


def put(start: str, state: State) -> State:
    """Names with a start."""
    return {start + name: tensor for name, tensor in state.items()}


def within(state: State, wrapper: str) -> State:
    """Names with a wrapper after the first step, as of a module inside that was wrapped."""
    return {".".join((first, wrapper, rest)) if rest else first: tensor for (first, _, rest), tensor in (
        (name.partition("."), tensor) for name, tensor in state.items())}  # fmt: skip


def halves(state: State) -> State:
    """The same in half precision."""
    return {name: tensor.half() for name, tensor in state.items()}


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
