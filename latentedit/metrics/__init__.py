"""Metrics: did the target move, did anything else? One file a metric."""

from latentedit.metrics.rescoring import Rescoring, rescore

__all__ = ["Rescoring", "rescore"]
