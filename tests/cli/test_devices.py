"""Where a command computes and in what: a GPU where there is one, float64 never there, half precision where asked."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import one_error
from PIL import Image
from pretended import pretended_gpu
from toy import ToyGenerator, ToyTagger

from latentedit import (
    DirectionBank,
    Edit,
    Prior,
    Settled,
    Transport,
    edit,
    load_generator,
    load_tagger,
    open_samples,
    sample,
)
from latentedit.prior.conditions import regions_of

GPU = "computing on the Apple GPU (mps); --device cpu is the processor"
NETWORK = """
import torch
from torch import nn

class Generator:
    dim, resolution = 8, 16

    def __init__(self):
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(8, 48), nn.Unflatten(1, (3, 4, 4)), nn.Upsample(scale_factor=4), nn.Tanh())

    def decode(self, codes):
        return self.net(codes)

    def style_weights(self):
        return {"net": self.net[0].weight}

class Tagger:
    tags = ("red", "green", "blue")
    threshold = 0.5

    def __init__(self):
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(768, 3), nn.Sigmoid())

    def score(self, images):
        return self.net(4 * images)
"""
STAYS = """
class Here(nn.Sequential):
    def to(self, device, dtype):
        if device.type != "cpu":
            raise RuntimeError("no such kernel")
        return super().to(device, dtype)

class Stays(Tagger):
    def __init__(self):
        super().__init__()
        self.net = Here(*self.net)
"""
OWN = ("--generator", "torch:own:Generator")


@pytest.fixture
def own(run):
    Path("own.py").write_text(NETWORK)
    return run


def codes_and_scores(path):
    batches = list(open_samples(path).iter_batches())
    return np.concatenate([b.codes for b in batches]), np.concatenate([b.scores for b in batches])


def test_a_day_on_a_gpu_is_a_day_on_the_processor(own):
    sample = ("sample", *OWN, "--tagger", "torch:own:Tagger", "-n", 120)
    with pretended_gpu():
        code, _, err = own(*sample, "there")
        assert code == 0 and err.splitlines().count(GPU) == 1
        for command in (
            ("fit-directions", "there", "--finder", "linear"),
            ("edit", *OWN, "--tag", "red", "--directions", "directions/linear.safetensors", "--out", "there.png"),
        ):
            code, _, err = own(*command)
            assert code == 0, err
        code, found, err = own(
            "evaluate", "rescoring", *OWN, "--tag", "red", "--directions", "directions/linear.safetensors",
            "--judge", "torch:own:Tagger", "-n", 4, "--natural", 0, "--json",
        )  # fmt: skip
        assert code == 0, err
    assert own(*sample, "here")[0] == 0
    for there, here in zip(codes_and_scores("there"), codes_and_scores("here"), strict=True):
        np.testing.assert_allclose(there, here, atol=1e-3)
    assert json.loads(found)


def test_a_gpu_that_does_not_work_is_said(own, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Old Card")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    code, _, err = own("sample", *OWN, "--tagger", "none", "-n", 4)
    assert code == 0 and "Old Card (cuda) cannot be used: " in err and "computing on the processor" in err
    assert "there are: cpu" in one_error(own("sample", *OWN, "--device", "cuda", "-n", 4))


def test_without_a_gpu_nothing_is_said(own):
    assert "comput" not in own("sample", *OWN, "--tagger", "none", "-n", 4)[2]


def test_what_does_not_do_on_the_gpu_that_we_chose_is_on_the_processor(own):
    Path("stays.py").write_text(NETWORK + STAYS)
    sample = ("sample", *OWN, "--tagger", "torch:stays:Stays", "-n", 4)
    with pretended_gpu():
        code, _, err = own(*sample)
        assert code == 0 and "torch:stays:Stays is on the processor: " in err and "no such kernel" in err
        assert "no such kernel" in own(*sample, "--device", "mps")[2].splitlines()[-1]


def test_shards_say_where_they_were_made_and_a_line_when_a_run_goes_on_elsewhere(tmp_path, recwarn):
    g, half = (load_generator("avatar", dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    options = {"tagger": load_tagger("avatar"), "shard_size": 4}
    sample(g, tmp_path, n=4, **options)
    assert not recwarn.list
    with pytest.warns(UserWarning, match="made on cpu in float32 so far and goes on on cpu in bfloat16; pictures"):
        sample(half, tmp_path, n=8, **options)
    recwarn.clear()
    sample(half, tmp_path, n=9, **options)
    assert not recwarn.list
    file = tmp_path / "manifest.json"
    manifest = json.loads(file.read_text())
    for shards in (manifest["shards"], manifest["taggers"][0]["shards"]):
        assert [one["dtype"] for one in shards] == ["float32", "bfloat16", "bfloat16"]
        assert {one["device"] for one in shards} == {"cpu"}
        for record in shards:  # as earlier versions wrote them
            del record["device"], record["dtype"]
    file.write_text(json.dumps(manifest))
    assert len(sample(g, tmp_path, n=10, **options)) == 10 and not recwarn.list


@pytest.fixture
def tf32():
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    yield lambda: [flag.allow_tf32 for flag in flags]
    for flag, value in zip(flags, before, strict=True):
        flag.allow_tf32 = value


def test_float32_is_whole_unless_less_was_asked_for(own, tf32):
    torch.backends.cudnn.allow_tf32 = True  # as torch begins
    decode = ("edit", *OWN, "--tag", "sefa_00", "--directions", "directions/sefa.safetensors", "--force")
    assert own("fit-directions", "none", *OWN, "--finder", "sefa")[0] == 0
    assert own(*decode, "--out", "32.png")[0] == 0 and tf32() == [False, False]
    assert own(*decode, "--out", "16.png", "--dtype", "bfloat16")[0] == 0 and tf32() == [True, True]
    whole, short = (np.asarray(Image.open(name)).astype(int) for name in ("32.png", "16.png"))
    assert 0 < np.abs(whole - short).max() <= 4
    assert own(*decode, "--dtype", "float8")[0] == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_bundled_generator_in_half_precision(dtype):
    whole, half = load_generator("avatar"), load_generator("avatar", dtype=dtype)
    codes = whole.sample_codes(range(2), truncation=0.7)
    assert torch.equal(codes, half.sample_codes(range(2), truncation=0.7)) and half.id == whole.id
    for name, weight in whole.style_weights().items():
        assert torch.equal(weight, half.style_weights()[name])
    assert (whole.decode(codes) - half.decode(codes)).abs().mean() < 0.006


def test_every_editor_works_on_a_gpu_and_keeps_float64_off_it(tmp_path):
    samples = sample(ToyGenerator(), tmp_path, tagger=ToyTagger(), n=200)
    transport = Transport.fit(samples)
    with pretended_gpu():
        g = load_generator("avatar", device="mps")
        codes = g.sample_codes(range(2))
        bank, prior = DirectionBank.load_default(g), Prior.load_default(g)
        moved = [edit(codes, editor, "long_hair") for editor in (bank, prior, Settled(bank, prior))]
        kept = edit(codes, prior, Edit("long_hair", keep=("smile",)))
        carried = transport.edit(torch.ones(2, 16).to("mps"), "smile")
        again = g.map(g.encode(g.decode(codes))[1])
        regions = regions_of(torch.rand(50, 3).to("mps"), torch.rand(50, 12).to("mps"), torch.eye(3).bool().to("mps"))
        assert {str(t.device) for t in (codes, *moved, kept, carried, again, regions)} == {"mps:0"}
        moved = [one.cpu() for one in moved]
        with pytest.raises(TypeError, match="float64"):
            codes.double()  # the control
    g = load_generator("avatar")
    for there, editor in zip(moved, (bank, prior, Settled(bank, prior)), strict=True):
        here = edit(g.sample_codes(range(2)), editor, "long_hair")
        torch.testing.assert_close(there, here, atol=1e-4, rtol=1e-4)
