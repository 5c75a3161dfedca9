"""Metrics: did the target move, did anything else, are pictures still good, do two taggers agree? One file a metric."""

from latentedit.metrics.agreement import Agreement, tagger_agreement
from latentedit.metrics.axioms import Axioms, check_axioms
from latentedit.metrics.carriers import OwnPictures, draw_own, natural_networks
from latentedit.metrics.curves import Curves, strength_curves
from latentedit.metrics.dependency import AttributeDependency, attribute_dependency
from latentedit.metrics.disentanglement import DCI, dci, dci_of_bank
from latentedit.metrics.domain_frechet import DomainFrechet, dfid
from latentedit.metrics.frechet_distance import FrechetStatistics, fid, fid_difference, fid_interval, frechet
from latentedit.metrics.intervals import Estimate
from latentedit.metrics.naturalness import Naturalness
from latentedit.metrics.perceptual import lpips, pairwise_lpips
from latentedit.metrics.rescoring import Rescoring, rescore

__all__ = [
    "DCI", "Agreement", "AttributeDependency", "Axioms", "Curves", "DomainFrechet", "Estimate", "FrechetStatistics",
    "Naturalness", "OwnPictures", "Rescoring", "attribute_dependency", "check_axioms", "dci", "dci_of_bank", "dfid",
    "draw_own", "fid", "fid_difference", "fid_interval", "frechet", "lpips", "natural_networks", "pairwise_lpips",
    "rescore", "strength_curves", "tagger_agreement",
]  # fmt: skip
