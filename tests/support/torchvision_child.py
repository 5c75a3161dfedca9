"""Run in a process of its own, with a folder of packages that need torchvision: their networks' numbers.

    python torchvision_child.py PACKAGES OUT

Writes random weights and inputs, and what torch-fidelity and lpips make of them, to OUT.
"""

import sys
from pathlib import Path

packages, out = sys.argv[1], Path(sys.argv[2])
sys.path.insert(0, packages)

import torch  # noqa: E402

# torchvision's compiled part does not belong to this torch; its Python part only wants these names to exist.
library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import lpips  # noqa: E402
import torchvision  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3  # noqa: E402

random = torch.Generator().manual_seed(0)


def shake(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Random weights, normalisation statistics too."""
    state = {}
    for key, value in network.state_dict().items():
        if key.endswith("running_var"):
            state[key] = torch.rand(value.shape, generator=random) + 0.5
        elif value.ndim > 1:
            state[key] = torch.randn(value.shape, generator=random) * (2 / value[0].numel()) ** 0.5
        elif value.is_floating_point():
            state[key] = torch.rand(value.shape, generator=random) * 0.2 + (0.9 if key.endswith("bn.weight") else 0)
        else:
            state[key] = value
    network.load_state_dict(state)
    return {key: value.clone() for key, value in network.state_dict().items()}


results = {}
pixels = torch.randint(0, 256, (2, 3, 90, 70), generator=random, dtype=torch.uint8)
a, b = (torch.rand(2, 3, 80, 96, generator=random) * 2 - 1 for _ in range(2))
results |= {"pixels": pixels, "a": a, "b": b}
with torch.no_grad():
    # The constructor wants a file of weights; random ones of the right shapes are made from an empty network.
    plain = FeatureExtractorInceptionV3.__new__(FeatureExtractorInceptionV3)
    original, torch.nn.Module.load_state_dict = torch.nn.Module.load_state_dict, lambda *a, **k: None
    torch.save({}, out / "empty.pth")
    inception = FeatureExtractorInceptionV3(
        "inception", ["2048"], feature_extractor_weights_path=str(out / "empty.pth")
    )
    torch.nn.Module.load_state_dict = original
    torch.save(shake(inception), out / "inception.pth")
    inception.eval()
    results["inception"] = inception(pixels)[0]
    makers = {
        "alex": torchvision.models.alexnet,
        "vgg": torchvision.models.vgg16,
        "squeeze": torchvision.models.squeezenet1_1,
    }
    for kind, make in makers.items():
        trunk = make(weights=None).eval()
        torch.save(shake(trunk), out / f"{kind}.pth")
        metric = lpips.LPIPS(net=kind, pnet_rand=True, verbose=False).eval()
        slices = [getattr(metric.net, f"slice{i}") for i in range(1, metric.net.N_slices + 1)]
        for part in slices:  # they number layers as torchvision's features do
            part.load_state_dict({k: trunk.features.state_dict()[k] for k in part.state_dict()})
        results[kind] = metric(a, b).flatten()
save_file({k: v.contiguous() for k, v in results.items()}, out / "results.safetensors")
