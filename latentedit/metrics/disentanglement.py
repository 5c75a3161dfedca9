"""DCI: disentanglement, completeness and informativeness of a code (Eastwood & Williams, 2018, section 2).

A regressor predicts each factor from the code; R_ij >= 0 says how much entry i of the code matters for factor j. With
P_ij = R_ij / sum_j R_ij, entry i is disentangled by 1 minus the entropy of P_i in base k; with the columns' shares,
factor j is captured completely by 1 minus its entropy in base d. Codes and factors are standardised first, so that
R compares across both. Informativeness is the held-out R2; the paper's error is ``sqrt(1 - R2)`` of a standardised
factor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from latentedit.directions.bank import DirectionBank
from latentedit.errors import LatentEditError, UnknownNameError
from latentedit.samples.store import Samples
from latentedit.taggers.tag_names import shared_tags

_OFTEN = 20
"""Rows that must carry a tag for its score to be predicted."""
Regressor = Literal["lasso", "forest", "boosting"]


@dataclass(frozen=True, eq=False)
class DCI:
    """Scores in [0, 1], more is better, and what they come from.

    Attributes:
        disentanglement: mean over entries, weighted by how much each matters; NaN of a single factor.
        completeness: mean over factors, weighted alike; NaN of a single entry.
        informativeness: mean held-out R2 of the factors, not below 0 each.
        importance: (d, k), R.
        r2: (k,) held-out R2 of each factor.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: np.ndarray
    r2: np.ndarray


def dci(
    codes: np.ndarray, factors: np.ndarray, *, regressor: Regressor = "lasso", seed: int = 0, test_share: float = 0.25
) -> DCI:
    """DCI of codes with respect to factors.

    Args:
        codes: (n, d).
        factors: (n, k), such as a tagger's scores; each must vary.
        regressor: "lasso" (absolute coefficients; alpha by cross-validation) or "forest" (impurity importances of a
            random forest), the two of the paper, or "boosting" (those of boosted trees).
        seed: of the split and the forest.
        test_share: of the rows, held out for R2.

    Raises:
        LatentEditError: shapes that do not fit, fewer than 20 rows, a factor that does not vary, a share that leaves
            nothing on one side.
    """
    model_of = _REGRESSORS.get(regressor)
    if model_of is None:
        raise UnknownNameError("regressor", regressor, _REGRESSORS)
    if not 0 < test_share < 1:
        raise LatentEditError(f"test_share is {test_share}; hold out a share between 0 and 1, such as 0.25")
    x, y = np.asarray(codes, float), np.asarray(factors, float)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise LatentEditError(f"codes {x.shape} and factors {y.shape}; they must be (n, d) and (n, k) of the same rows")
    if len(x) < 20 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise LatentEditError(f"DCI needs 20 rows or more of finite numbers, and got {len(x)}")
    order = np.random.default_rng(seed).permutation(len(x))
    test, train = np.split(order, [min(max(2, round(test_share * len(x))), len(x) - 10)])  # 5 folds of 2 are left
    if (y[train].std(0) < 1e-12).any() or (y[test].std(0) < 1e-12).any():
        raise LatentEditError("a factor does not vary over the rows; leave it out")
    x, y = (_standardised(table, train) for table in (x, y))
    importance, r2 = np.zeros((x.shape[1], y.shape[1])), np.zeros(y.shape[1])
    for j in range(y.shape[1]):
        model = model_of(seed)
        model.fit(x[train], y[train, j])
        importance[:, j] = np.abs(model.coef_) if regressor == "lasso" else model.feature_importances_
        r2[j] = model.score(x[test], y[test, j])
    return DCI(*scores_of(importance), float(r2.clip(0).mean()), importance, r2)


def dci_of_bank(bank: DirectionBank, samples: Samples, *, rows: int = 4000, regressor: Regressor = "lasso") -> DCI:
    """DCI of how far codes lie along a bank's directions, with respect to the scores of the same tags.

    Args:
        bank: directions (d,) of the samples' generator.
        samples: tagged; their first ``rows`` with labels for all of these tags are used.
        rows: at most.
        regressor: see :func:`dci`.

    Raises:
        MismatchError: samples of another generator.
        LatentEditError: directions per slot, or no tag in common; see also :func:`dci`.
    """
    samples.check_generator(bank.generator_id, probe=bank.generator_probe)
    known = samples.tags()
    shared = shared_tags(bank.tags, known)
    tags = list(shared)
    if not tags or any(bank[tag].vector.ndim != 1 for tag in tags):
        raise LatentEditError("DCI takes directions of whole codes, whose tags the samples have")
    columns, found, count = [known.index(shared[tag]) for tag in tags], [], 0
    for batch in samples.iter_batches(batch_size=1024):
        assert batch.scores is not None
        scores = batch.scores[:, columns]
        labelled = np.isfinite(scores).all(1)
        found.append((batch.codes[labelled], scores[labelled]))
        count += int(labelled.sum())
        if count >= rows:
            break
    codes, scores = (np.concatenate(part)[:rows].astype(float) for part in zip(*found, strict=True))
    kept = [j for j in range(len(tags)) if (scores[:, j] > 0.5).sum() >= _OFTEN]
    if not kept:
        raise LatentEditError(
            f"no tag of the bank is scored above 0.5 on {_OFTEN} of {len(scores)} labelled rows; "
            "sample more, or take a bank of commoner tags"
        )
    vectors = np.stack([bank[tags[j]].vector.double().numpy() for j in kept], 1)  # (d, k)
    return dci(codes @ vectors, scores[:, kept], regressor=regressor)


def scores_of(importance: np.ndarray) -> tuple[float, float]:
    """Disentanglement and completeness of an importance matrix (d, k), not negative; both 0 where nothing matters."""
    d, k = importance.shape
    total = importance.sum()
    if total <= 0:
        return 0.0, 0.0
    rows, columns = importance.sum(1), importance.sum(0)
    disentangled = 1 - _entropy(importance, rows[:, None], axis=1)
    complete = 1 - _entropy(importance, columns[None], axis=0)
    return (
        float((rows * disentangled).sum() / total) if k > 1 else float("nan"),
        float((columns * complete).sum() / total) if d > 1 else float("nan"),
    )


def _entropy(r: np.ndarray, sums: np.ndarray, *, axis: int) -> np.ndarray:
    """Entropy of r / sums along an axis, in the base of that axis' length; 0 for an axis of one."""
    share = np.divide(r, sums, out=np.zeros_like(r), where=sums > 0)
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    length = r.shape[axis]
    found: np.ndarray = -(share * logs).sum(axis) / (np.log(length) if length > 1 else 1.0)
    return found


def _standardised(table: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Columns (n, m) with mean 0 and deviation 1 over the training rows; constant ones become 0 there."""
    spread = table[train].std(0)
    found: np.ndarray = (table - table[train].mean(0)) / np.where(spread > 0, spread, 1)
    return found


def _lasso(seed: int) -> Any:
    from sklearn.linear_model import LassoCV

    return LassoCV(cv=5, random_state=seed, max_iter=20_000, tol=1e-3)


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(100, max_depth=8, random_state=seed)


def _boosting(seed: int) -> Any:
    from sklearn.ensemble import GradientBoostingRegressor

    return GradientBoostingRegressor(random_state=seed)


_REGRESSORS: Mapping[str, Callable[[int], Any]] = {"lasso": _lasso, "forest": _forest, "boosting": _boosting}
