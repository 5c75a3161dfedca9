"""Rebuild the tensors of a conformance fixture from its manifest.

Nothing here depends on any model code: a manifest lists tensor names, shapes and
a fill rule, and this module turns that list back into numpy arrays (or torch
tensors).  ``conformance.py`` reads its results.
"""

from __future__ import annotations

import json
import pathlib
import re
import zlib
from collections import OrderedDict

import numpy as np


def fill(name, shape, scale=1.0, offset=0.0, salt=""):
    """The deterministic fill: it depends on the salt, the tensor's name and its shape only."""
    rng = np.random.default_rng(zlib.crc32((salt + name).encode("utf-8")))
    x = np.asarray(rng.standard_normal(tuple(shape)), dtype=np.float64).astype(np.float32)
    return np.asarray(x * np.float32(scale) + np.float32(offset), dtype=np.float32).reshape(tuple(shape))


def load_manifest(path):
    """Read manifest.json and remember the folder it came from."""
    path = pathlib.Path(path)
    if path.is_dir():
        path = path / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["_dir"] = str(path.parent)
    return manifest


def load_arrays(manifest):
    """All arrays of all npz files the manifest names, in one dict."""
    arrays = {}
    for file in manifest["npz"]:
        with np.load(pathlib.Path(manifest["_dir"]) / file, allow_pickle=False) as z:
            arrays.update({k: z[k] for k in z.files})
    return arrays


def _rule_for(name, rules):
    for regex, kind, scale, offset in rules:
        if re.fullmatch(regex, name):
            return kind, scale, offset
    raise KeyError(f"no fill rule matches {name!r}")


def rebuild_state_dict(manifest, as_torch=False, check=True, salt=None):
    """Return an OrderedDict name -> array in the official state_dict order.

    manifest: a path (file or folder) or the dict from load_manifest().
    check:    compare each tensor's crc32 with the manifest (skipped for another salt).
    salt:     None uses the manifest's own salt; any other string gives a *different*
              checkpoint of the same layout (useful as a decoy for non-EMA weights).
    """
    if not isinstance(manifest, dict):
        manifest = load_manifest(manifest)
    own = salt is None
    salt = manifest["salt"] if own else salt
    arrays = None
    out = OrderedDict()
    for t in manifest["tensors"]:
        name, shape = t["name"], tuple(t["shape"])
        if t["kind"] == "literal":
            if arrays is None:
                arrays = load_arrays(manifest)
            x = np.ascontiguousarray(arrays[t["literal"]]).reshape(shape)
        else:
            kind, scale, offset = _rule_for(name, manifest["fill_rules"])
            assert kind == t["kind"] == "normal", (name, kind, t["kind"])
            x = fill(name, shape, scale, offset, salt)
        assert str(x.dtype) == t["dtype"], (name, x.dtype, t["dtype"])
        if check and own and zlib.crc32(np.ascontiguousarray(x).tobytes()) != t["crc32"]:
            raise ValueError(f"{name}: rebuilt values differ from the ones the fixture was made with")
        out[name] = x
    if as_torch:
        import torch

        out = OrderedDict((k, torch.from_numpy(np.array(v))) for k, v in out.items())
    return out


def rebuild_checkpoint(manifest, tensors=None):
    """Return the dict that torch.save() should write to get the checkpoint file's layout.

    tensors: the state_dict if it is there already.
    """
    import torch

    if not isinstance(manifest, dict):
        manifest = load_manifest(manifest)
    arrays = load_arrays(manifest)
    ckpt = {}
    for key, value in manifest["checkpoint"]["outer"].items():
        if value == "@state_dict":
            value = OrderedDict(tensors or rebuild_state_dict(manifest, as_torch=True))
        elif isinstance(value, str) and value.startswith("@npz:"):
            value = torch.from_numpy(np.array(arrays[value[5:]]))
        ckpt[key] = value
    return ckpt
