"""The file of a prior: safetensors, the networks in half precision, string metadata for everything else as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import DamagedFileError
from latentedit.prior.conditions import vector_width
from latentedit.prior.networks import Surrogate, Velocity
from latentedit.prior.reading import Reader
from latentedit.prior.space import CodeSpace
from latentedit.tensorfile import read_safetensors, write_safetensors

FORMAT = "latentedit.prior"
SCHEMA = 1


def write_prior(
    path: str | Path,
    arrays: Mapping[str, np.ndarray],
    *,
    tags: Sequence[str],
    layers: Sequence[str],
    about: Mapping[str, Any],
    generator_id: str,
    generator_name: str,
    generator_probe: str | None,
    tagger_id: str | None,
    tagger_name: str,
) -> None:
    """Write a prior, atomically; arguments as the attributes of :class:`latentedit.prior.prior.Prior`."""
    metadata = {
        "format": FORMAT, "schema": str(SCHEMA), "generator_id": generator_id, "generator_name": generator_name,
        "tagger_id": tagger_id or "", "tagger_name": tagger_name, "tags": json.dumps(tags),
        "layers": json.dumps(layers), "names": json.dumps(sorted(arrays)), "about": json.dumps(dict(about)),
        **({} if generator_probe is None else {"generator_probe": generator_probe}),
    }  # fmt: skip
    write_safetensors(path, arrays, metadata)


def generator_of(path: str | Path) -> str | None:
    """Id of the generator that a prior's file is of; the rest is not read.

    Raises:
        DamagedFileError: as :func:`read_prior`.
    """
    return read_safetensors(path, format=FORMAT, schema=SCHEMA, names=())[1].get("generator_id")


def read_prior(path: str | Path, device: str | torch.device) -> dict[str, Any]:
    """The attributes of the prior in a file.

    Raises:
        DamagedFileError: missing, truncated, of another kind, or written by a newer latentedit.
    """
    _, metadata = read_safetensors(path, format=FORMAT, schema=SCHEMA, names=())
    try:
        names = json.loads(metadata["names"])
        arrays, _ = read_safetensors(path, format=FORMAT, schema=SCHEMA, names=names)
        t = {name: _tensor(value).to(device) for name, value in arrays.items()}
        if not all(torch.isfinite(value).all() for value in t.values() if value.is_floating_point()):
            raise ValueError("numbers that are not finite")
        tags, layers = (tuple(map(str, json.loads(metadata[name]))) for name in ("tags", "layers"))
        space = CodeSpace(t["mean"], t["axes"], t["deviation"])
        cells = len(t["cells.mean"])
        velocity = Velocity(
            space.width, vector_width(len(tags), cells // 3), hidden=len(t["velocity.time.bias"]),
            depth=sum(name.startswith("velocity.layers.") and name.endswith("bias") for name in t),
        ).to(device)  # fmt: skip
        network = Surrogate(space.width, len(tags), cells, hidden=len(t["reader.body.0.bias"])).to(device)
        for kind, one in (("velocity", velocity), ("reader", network)):
            one.load_state_dict({n.removeprefix(f"{kind}."): v for n, v in t.items() if n.startswith(f"{kind}.")})
            one.eval().requires_grad_(False)
        shapes = (t["regions"].shape, t["related"].shape, t["percentiles"].shape, t["known"].shape)
        if shapes != ((len(tags), cells // 3), (len(tags), len(tags)), (101, len(tags)), (len(tags),)):
            raise ValueError(f"tables of the shapes {[tuple(s) for s in shapes]} for {len(tags)} tags")
        if not (space.deviation > 0).all():
            raise ValueError("an axis without width")
        if space.axes.shape != (space.width, len(space.mean)):
            raise ValueError(f"axes of the shape {tuple(space.axes.shape)}")
        return {
            "tags": tags, "layers": layers, "dim": len(space.mean), "space": space, "velocity": velocity,
            "reader": Reader(network, t["known"], t["cells.mean"], t["cells.deviation"]),
            "regions": t["regions"], "related": t["related"], "percentiles": t["percentiles"],
            "generator_id": metadata["generator_id"], "generator_name": metadata.get("generator_name", ""),
            "generator_probe": metadata.get("generator_probe"), "tagger_id": metadata.get("tagger_id") or None,
            "tagger_name": metadata.get("tagger_name", ""), "about": dict(json.loads(metadata["about"])),
        }  # fmt: skip
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DamagedFileError(f"{path}: a damaged prior ({reason}); fit it again") from error


def _tensor(value: np.ndarray) -> Tensor:
    found = torch.from_numpy(value)
    return found.float() if found.is_floating_point() else found
