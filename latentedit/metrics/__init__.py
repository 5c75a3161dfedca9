"""Metrics: did the target move, did anything else, do two taggers agree? One file a metric."""

from latentedit.metrics.agreement import Agreement, tagger_agreement
from latentedit.metrics.rescoring import Rescoring, rescore

__all__ = ["Agreement", "Rescoring", "rescore", "tagger_agreement"]
