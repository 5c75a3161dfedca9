"""Parts of files, and names without wrappers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from latentedit.checkpoints.checkpoint import Checkpoint
from latentedit.checkpoints.wrapping import Unwrapped

ONE, TWO = torch.ones(2), torch.zeros(3)


def parts(tree: Any) -> dict[str, set[str]]:
    """Names in each part."""
    checkpoint = Checkpoint(Path("x.pt"), "torch zip", tree)
    return {part.part.name: set(part.state()) for part in checkpoint.parts() if part.part is not None}


def test_wrappers_are_left_out_of_names_wherever_they_stand() -> None:
    tree = {"module._orig_mod.a.module.b": ONE, "module._orig_mod.n_averaged": torch.tensor(3)}
    assert parts(tree)[""] == {"a.b"}
    assert parts({"a.module_b.c": ONE, "modules.d": ONE})[""] == {"a.module_b.c", "modules.d"}


def test_names_stay_where_two_would_become_one() -> None:
    assert parts({"module.a": ONE, "a": TWO})[""] == {"module.a", "a"}


def test_averages_come_first_and_other_networks_are_no_parts() -> None:
    tree = {"g": {"a": ONE}, "d": {"a": ONE}, "optimizer": {"ema": {"a": ONE}}, "ema": {"module": {"g": {"a": TWO}}}}
    names = list(parts(tree))
    assert names[0] == "ema.g" and names.index("ema") < names.index("g")
    assert not any(name.startswith(("d", "optimizer")) for name in names)


def test_a_mean_is_looked_for_in_the_part_and_then_around_it() -> None:
    held = Unwrapped({"x.g.a": ONE, "x.mean": TWO, "mean": ONE}, None)
    assert held.nearest(("x", "g"), "mean") is TWO
    assert held.nearest(("y",), "mean") is ONE
    assert held.nearest(("x",), "median") is None


def test_a_state_is_found_by_its_names() -> None:
    checkpoint = Checkpoint(
        Path("x.pt"), "torch zip", {"epoch": 1, "state_dict": {"module.net.a": ONE, "module.b": TWO}}
    )
    assert set(checkpoint.state_with(["net.a", "b"])) == {"net.a", "b"}
    assert set(checkpoint.state_with(["a"])) == {"a"}
    assert set(checkpoint.state_with(["c"])) == {"state_dict.module.net.a", "state_dict.module.b"}


def test_many_parts_within_parts_end() -> None:
    nested: Any = {"a": ONE}
    for _ in range(30):
        nested = {"model": nested, "g": {"b": ONE}}
    assert 1 < len(parts(nested)) < 100
    assert len(parts({str(i): {"a": ONE} for i in range(5_000)})) <= 100
