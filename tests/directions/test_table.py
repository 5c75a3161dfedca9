"""What shows itself in a console and in a notebook, and directions as a table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from foreign import G
from made_directions import D, bank, direction

import latentedit as le
from latentedit.directions import SeFa

Run = Callable[..., tuple[int, str, str]]


def moments() -> le.Moments:
    random = np.random.default_rng(0)
    found = le.Moments(D, ["smile", "hat"], generator_id="toy:1")
    found.update(random.standard_normal((20, D)), np.repeat([[1.0, 0.0]], 20, 0), groups=np.arange(20))
    return found


def transport() -> le.Transport:
    way = (torch.eye(D).double(), torch.zeros(D).double())
    return le.Transport({f"tag{i}": (way, way) for i in range(30)}, "toy:1")


THINGS: dict[str, Callable[[], Any]] = {
    "direction": lambda: direction("<b>", score=0.25, support=12),
    "bank": lambda: le.DirectionBank([direction(f"tag{i}", i) for i in range(30)]),
    "moments": moments,
    "transport": transport,
}


@pytest.mark.parametrize("name", THINGS)
def test_each_shows_itself_in_a_line_and_in_a_notebook(name: str) -> None:
    thing = THINGS[name]()
    text, html = repr(thing), thing._repr_html_()
    assert text.startswith(f"{type(thing).__name__}(") and len(text) < 260 and "\n" not in text and "tensor" not in text
    assert html.startswith("<table") and "<b>" not in html
    cells = re.findall(r"<t[dh]>(.*?)</t[dh]>", html)
    if name == "bank":
        assert "tag7, ... 22 more" in text and html.count("<tr") == 31 and "held-out R²" in cells
    if name == "moments":
        assert "20 rows of 16 numbers of toy:1, 2 tags: smile, hat" in text
        assert cells[3:] == ["smile", "20", "100.0%", "hat", "0", "0.0%"]


def test_a_direction_says_what_it_is() -> None:
    assert repr(direction("smile", score=0.25)) == (
        "Direction('smile', 16 numbers of toy:1, σ 0.7, linear, held-out R² 0.250)"
    )
    assert "2 x 16 numbers" in repr(direction(shape=(2, D)))


def test_list_directions_shows_components_and_says_which_tags_share_one(run: Run) -> None:
    generator = G  # it remembers the codes that sigma is measured on
    codes = generator.sample_codes(range(300)).double().numpy()
    parts = SeFa(k=2).fit(generator)
    along = codes @ parts[1].vector.double().numpy()
    data = le.Moments(16, ["smile", "frown", "coin"], generator_id=generator.id)
    coin = np.random.default_rng(0).random(300) < 0.5
    data.update(codes, np.stack([along > 0.5, along < -0.5, coin], 1).astype(float), groups=np.arange(300))
    with pytest.warns(UserWarning, match="one component under several tags|no better than chance"):
        found = le.fit_directions(data, finder=SeFa(k=2), generator=generator)
    found.save("sefa.safetensors")
    code, out, err = run("list", "directions", "sefa.safetensors")
    assert code == 0 and out.splitlines()[0].split()[-4:] == ["component", "correlation", "nearest", "cosine"]
    smile = next(line for line in out.splitlines() if line.split()[:1] == ["smile"]).split()
    assert smile[-4] == "sefa_01" and float(smile[-3]) == pytest.approx(found["smile"].params["correlation"], abs=0.006)
    assert "one component under several tags, which therefore move alike (cosine ±1.00): sefa_01 (smile, frown" in err
    assert "coin is no better than chance" in err
    code, out, err = run("list", "directions", "sefa.safetensors", "--json")
    document = json.loads(out)
    assert document["shared_components"]["sefa_01"][:2] == ["smile", "frown"]
    assert [one["above_chance"] for one in document["directions"]] == [True, True, False]
    assert document["directions"][1]["component"] == "sefa_01" and document["directions"][1]["correlation"] < -0.5
    bank().save("lines.safetensors")  # without components there are no such columns, and nothing to say
    code, out, err = run("list", "directions", "lines.safetensors")
    assert "component" not in out and err == ""
