"""Generators of well-known projects whose layouts are not read, by the names of their tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable

# All patterns of a row are found in some name. As in public code: `to_style1` of lucidrains' blocks, `feat_8` and
# `init.init` of FastGAN, `MainLayers` of R3GAN, `embed_proj` of StyleGAN-XL's mapping, `progression` and `adain` of
# rosinality's style-based-gan-pytorch, `scaleLayers` of pytorch_GAN_zoo, `decode.0.norm1.fc` of StarGAN v2, `gain` of
# BigGAN's class-conditional normalisation, `bn_0.scale` of pytorch-pretrained-BigGAN.
_FORKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("lucidrains' stylegan2-pytorch", (r"\bto_style1\.", r"\binitial_(block|conv)\b")),
    ("FastGAN or Projected GAN", (r"\bfeat_8\.", r"\binit\.init\.")),
    ("R3GAN", (r"\bMainLayers\.\d+\.TransitionLayer\.", r"\bLinearLayer1\.")),
    ("StyleGAN-XL", (r"\bmapping\.embed_proj\.", r"\bsynthesis\.")),
    ("StyleGAN (the first), as of rosinality's style-based-gan-pytorch", (r"\bprogression\.\d+\.", r"\badain\d\.")),
    ("a progressive GAN, as of rosinality", (r"\bprogression\.\d+\.", r"\bto_rgb\.\d+\.")),
    ("a progressive GAN, as of pytorch_GAN_zoo", (r"\bscaleLayers\.\d+\.", r"\btoRGBLayers\.\d+\.")),
    ("StarGAN v2", (r"\bdecode\.\d+\.norm1\.fc\.", r"\bfrom_rgb\.")),
    ("BigGAN, as of BigGAN-PyTorch", (r"\bblocks\.\d+\.\d+\.bn1\.gain\.", r"\bshared\.")),
    ("BigGAN-deep, as of pytorch-pretrained-BigGAN", (r"\blayers\.\d+\.bn_0\.scale\.", r"\bgen_z\.")),
)
_SPECTRAL = (r"\.weight_orig$", r"\.weight_(u|v)$"), (r"\.parametrizations\.weight\.original\d?$",)


def fork_of(names: Iterable[str]) -> str | None:
    """What a generator of a layout that is not read is, in words; None when there is no telling."""
    held = list(names)

    def fits(patterns: tuple[str, ...]) -> bool:
        return all(any(re.search(pattern, name) for name in held) for pattern in patterns)

    normalised = any(map(fits, _SPECTRAL))
    found = next((name for name, patterns in _FORKS if fits(patterns)), None)
    if found is not None:
        return f"it is of {found}, whose layout is not read"
    if normalised:
        return (
            "it has weights with spectral normalisation or another parametrization, which are not read; take it off "
            "before saving (torch.nn.utils.remove_spectral_norm, or parametrize.remove_parametrizations)"
        )
    return None
