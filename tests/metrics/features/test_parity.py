"""FID's Inception and LPIPS against torch-fidelity and lpips themselves.

These packages need torchvision, which must stay out of the main environment: they are installed into a temporary folder
(about 30 MB from the package index, hence the marker) and run in a process of their own.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from places import SUPPORT
from safetensors.torch import load_file

from latentedit.metrics.features import load_features
from latentedit.metrics.perceptual import lpips

PACKAGES = ("torchvision==0.28.0", "lpips==0.1.4", "torch-fidelity==0.4.0")


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """Folder with random weights, and what the packages made of random inputs."""
    folder = tmp_path_factory.mktemp("official")
    environment = dict(os.environ)
    for ours, theirs in (("PIP_FIND_LINKS", "UV_FIND_LINKS"), ("PIP_INDEX_URL", "UV_DEFAULT_INDEX")):
        if ours in environment:
            environment.setdefault(theirs, environment[ours])
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    install = [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
    target = ["--quiet", "--no-deps", "--target", str(folder / "packages")]
    subprocess.run([*install, *target, *PACKAGES], check=True, timeout=240, env=environment)
    child = SUPPORT / "torchvision_child.py"
    done = subprocess.run(
        [sys.executable, child, folder / "packages", folder], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.network
@pytest.mark.slow
def test_inception_is_that_of_torch_fidelity(official):
    results = load_file(official / "results.safetensors")
    network = load_features(f"inception:{official}/inception.pth")
    wanted = results["inception"].float()
    found = network.features(results["pixels"].float() / 127.5 - 1)
    assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()
    off = network.features((results["pixels"].float() / 127.5 - 1).roll(1, 3))
    assert (off - wanted).abs().max() > 1e-3 * wanted.abs().max()


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["alex", "vgg", "squeeze"])
def test_lpips_is_that_of_its_package(official, kind):
    results = load_file(official / "results.safetensors")
    network = load_features(f"{kind}:{official}/{kind}.pth")
    found = lpips(results["a"], results["b"], network=network)
    assert (found - results[kind].float()).abs().max() <= 1e-4 and found.min() > 0.01
    assert (lpips(results["a"], torch.zeros_like(results["b"]), network=network) - results[kind]).abs().max() > 1e-2
