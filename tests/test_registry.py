"""Names such as ``kind:path?key=value``, whatever files are called, and devices."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_networks import stylegan2_state

from latentedit import load_generator, load_tagger
from latentedit.editing.ingredients import found_name
from latentedit.errors import LatentEditError
from latentedit.inspection import inspect_generator
from latentedit.registry import devices, parse_name, usable_device

NASTY = [
    "net.pt?download=true", "a?b?c.pt", "?", "net.pt?labels=3", "a#b&c=d,e.pt", "50%25.pt", "100%.pt", "plus+plus.pt",
    "sp ace.pt", " ends.pt ", "co:lon.pt", "C:\\x.pt", "genforce:x.pt", "[ab]*.pt", "clip.mp4#t=1.5", "two\nlines.pt",
    "~net.pt", "~", "-dash.pt", "\"quo'tes", "日本.pt", ".hidden", "$HOME",
]  # fmt: skip


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A generator's file, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    save_file(stylegan2_state(8), tmp_path / "net")
    return tmp_path / "net"


# ---- files


def test_a_file_is_named_by_what_it_is_called_and_by_what_info_prints(network: Path) -> None:
    id = load_generator("genforce:net").id
    for name in NASTY:
        os.link(network, name)
        assert parse_name(f"genforce:{name}") == ("genforce", name, {})
        told = inspect_generator(name)
        assert told.id == load_generator(told.name).id == id, name
        os.unlink(name)
        with pytest.raises(LatentEditError):
            load_generator(f"genforce:{name}")


def test_a_recorded_file_is_found_near_what_records_it(network: Path) -> None:
    Path("there").mkdir()
    for name in NASTY:
        if name == "~":
            continue  # where there is no such file, it is the home folder
        os.link(network, f"there/{name}")
        found = found_name(f"genforce:{name}", Path("there/recipe.json"))
        assert parse_name(found) == ("genforce", f"there/{name}", {}), name
        os.unlink(f"there/{name}")
        assert found_name(f"genforce:{name}", Path("there/recipe.json")) == f"genforce:{name}"


def test_the_longest_file_wins_and_the_rest_is_options(network: Path) -> None:
    os.link(network, "net?labels=2")
    assert parse_name("x:net?labels=2") == ("x", "net?labels=2", {})
    assert parse_name("x:net?labels=3") == ("x", "net", {"labels": "3"})
    assert parse_name("x:net?labels=2?labels=3") == ("x", "net?labels=2", {"labels": "3"})
    assert parse_name("x:none?a=b?c&d=1%262+3&e") == ("x", "none", {"a": "b?c", "d": "1&2+3", "e": ""})
    with pytest.raises(LatentEditError, match="^net: labels is for ProGAN"):
        inspect_generator("net?labels=3")
    long = "x:none?tags=" + "a" * 5000
    assert parse_name(long)[1] == "none"
    with pytest.raises(LatentEditError, match="unknown"):
        load_tagger(long)


def test_home_after_a_kind(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = network.parent / "h"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    network.rename(home / "net")
    assert parse_name("x:~/net?a=1") == ("x", str(home / "net"), {"a": "1"})
    assert load_generator("genforce:~/net").id == load_generator(f"genforce:{home}/net").id
    assert parse_name("x:~nobody-of-this-name/net")[1] == "~nobody-of-this-name/net"
    Path("~").mkdir()
    Path("~/net").write_bytes(b"")
    assert parse_name("x:~/net")[1] == "~/net", "a file that is there is meant itself"


# ---- devices


@pytest.mark.parametrize(
    "device", ["mps", "cuda:97", "gpu", "CPU", "xla", "meta", "hpu", "mkldnn", "", "cpu,cuda", None]
)
def test_a_device_that_is_not_here_is_said_in_a_line_with_those_that_are(device: str | None) -> None:
    if device in devices():
        pytest.skip("it is here")
    for load in (load_generator, load_tagger):
        with pytest.raises(LatentEditError) as caught, warnings.catch_warnings(action="error"):
            load("avatar", device=device)  # type: ignore[arg-type]
        said = str(caught.value)
        assert f"no device {str(device)!r}" in said and f"there are: {', '.join(devices())}" in said
        assert len(said) < 200 and "\n" not in said


def test_a_device_that_is_here_is_taken() -> None:
    for name in devices():
        assert usable_device(name) == usable_device(torch.device(name)) == torch.device(name)
