"""Replay of golden data of Gaussian anomaly detection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.svm import OneClassSVM

from repcore.interfaces import StageResult
from repcore.verification.golden import Golden
from repcore_generic.estimators.gaussian import (
    Gaussian,
    Moments,
    conformal_p_values,
    conformal_threshold,
    head_or_tail,
    sigma_threshold,
)
from repcore_generic.estimators.normal_scores import (
    diagonal_distances,
    one_class_svm,
    position_map,
    root_mean_square_distances,
    shared_map,
    standardised,
)

Produced = dict[str, Any]  # array or number by stored name


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; no stage is fed."""
    del fed
    levels = range(int(golden.config["reference"]["levels"]))
    fit = [_array(golden, f"fit.level{number}").mean(1) for number in levels]
    test = [_array(golden, f"test.level{number}").mean(1) for number in levels]
    yield from _reference(golden, fit, test)
    yield from _components(golden, fit, test)
    yield StageResult(
        "sigma_thresholds",
        {
            f"threshold.dim{number}": np.asarray([sigma_threshold(one, rows.shape[1]) for one in
                                                  golden.config["reference"]["sigmas"]])
            for number, rows in enumerate(fit)
        },
    )  # fmt: skip
    yield from _fragile(golden)
    corrected = _corrected(golden)
    scores = corrected["corrected.total.maha"]
    yield StageResult("corrected", corrected)
    yield StageResult("maps", _maps(golden))
    calibration = _array(golden, "calibration.scores")
    yield StageResult(
        "calibration",
        {
            "calibration.threshold": np.asarray(
                [
                    conformal_threshold(calibration, one)
                    for one in golden.config["corrected"]["calibration_probabilities"]
                ]
            ),
            "calibration.p_value": conformal_p_values(calibration, scores),
        },
    )


def _array(golden: Golden, name: str) -> np.ndarray:
    values: np.ndarray = golden.inputs[name].double().numpy()
    return values


def _reference(golden: Golden, fit: list[np.ndarray], test: list[np.ndarray]) -> Iterator[StageResult]:
    facts: Produced = {}
    precision: Produced = {}
    scores: dict[str, list[np.ndarray]] = {"maha": [], "l2": [], "diagonal": [], "ocsvm": []}
    ddof = int(golden.config["reference"]["diagonal_ddof"])
    for number, (normal, rows) in enumerate(zip(fit, test, strict=True)):
        gaussian = Gaussian.of(Moments.of(normal))
        name = f"reference.level{number}"
        spread = normal.std(0, ddof=ddof)
        facts |= {
            f"{name}.mean": gaussian.mean, f"{name}.shrinkage": gaussian.shrinkage, f"{name}.diagonal_std": spread
        }  # fmt: skip
        precision[f"{name}.precision"] = np.linalg.inv(gaussian.cholesky @ gaussian.cholesky.T)
        scores["maha"].append(gaussian.distances(rows))
        scores["l2"].append(root_mean_square_distances(rows, gaussian.mean))
        scores["diagonal"].append(diagonal_distances(rows, gaussian.mean, spread))
        scores["ocsvm"].append(_one_class(golden, normal, rows))
    named = {f"reference.level{number}.{kind}": one for kind, all_ in scores.items() for number, one in enumerate(all_)}
    totals = {f"reference.total.{kind}": np.mean(all_, axis=0) for kind, all_ in scores.items()}
    every = {**named, **totals}
    yield StageResult("fit", facts)
    yield StageResult("precision", precision)
    yield StageResult("scores", {name: one for name, one in every.items() if not name.endswith("ocsvm")})
    yield StageResult("one_class_svm", {name: one for name, one in every.items() if name.endswith("ocsvm")})


def _one_class(golden: Golden, normal: np.ndarray, rows: np.ndarray) -> np.ndarray:
    facts = golden.config["reference"]["one_class_svm"]
    machine: OneClassSVM = one_class_svm(normal, nu=float(facts["nu"]))
    found: np.ndarray = -machine.decision_function(rows)
    return found


def _components(golden: Golden, fit: list[np.ndarray], test: list[np.ndarray]) -> Iterator[StageResult]:
    share = float(golden.config["reference"]["variance_threshold"])
    counts: Produced = {}
    directions: Produced = {}
    scores: Produced = {}
    for which in ("head", "tail"):
        distances = []
        for number, (normal, rows) in enumerate(zip(fit, test, strict=True)):
            kept = head_or_tail(normal, share, which, published=True)
            name = f"{which}.level{number}"
            counts[f"{name}.count"] = len(kept.directions)
            directions[f"{name}.components"] = kept.directions
            distances.append(Gaussian.of(Moments.of(kept.project(normal))).distances(kept.project(rows)))
            scores[f"{name}.maha"] = distances[-1]
        scores[f"{which}.total.maha"] = np.mean(distances, axis=0)
    fragile = {
        f"{case}.{mode}.count": len(_tail(golden, case, mode)[0])
        for case in ("few", "dominant") for mode in ("reference", "corrected")
    }  # fmt: skip
    yield StageResult("component_counts", {**counts, **fragile})
    yield StageResult("components", directions)
    yield StageResult("component_scores", scores)


def _tail(golden: Golden, case: str, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Directions of the tail, and distances of the test rows in it."""
    normal, rows = _array(golden, f"{case}.fit"), _array(golden, f"{case}.test")
    kept = head_or_tail(normal, float(golden.config[case]["variance_threshold"]), "tail", published=mode == "reference")
    return kept.directions, Gaussian.of(Moments.of(kept.project(normal))).distances(kept.project(rows))


def _fragile(golden: Golden) -> Iterator[StageResult]:
    for mode, stages in (
        ("reference", (("fragile_reference", ("dominant",)), ("few_reference", ("few",)))),
        ("corrected", (("fragile_corrected", ("few", "dominant")),)),
    ):
        for stage, cases in stages:
            yield StageResult(stage, {f"{case}.{mode}.tail_maha": _tail(golden, case, mode)[1] for case in cases})


def _corrected(golden: Golden) -> Produced:
    produced: Produced = {}
    totals: dict[str, list[np.ndarray]] = {"maha": [], "standardised_maha": []}
    for number in range(int(golden.config["reference"]["levels"])):
        normal = _pooled(golden, "fit", number)
        rows = _pooled(golden, "test", number)
        moments = Moments.of(normal)
        covariance, share = moments.shrunk()
        gaussian = Gaussian.of(moments)
        scaled, apply = standardised(normal)
        plain = Gaussian.of(Moments.of(scaled))
        name = f"corrected.level{number}"
        produced |= {
            f"{name}.pooled": rows, f"{name}.mean": gaussian.mean, f"{name}.covariance": covariance,
            f"{name}.cholesky": gaussian.cholesky, f"{name}.shrinkage": share,
            f"{name}.standardised_shrinkage": plain.shrinkage,
        }  # fmt: skip
        totals["maha"].append(gaussian.distances(rows))
        totals["standardised_maha"].append(plain.distances(apply(rows)))
        produced |= {f"{name}.{kind}": values[-1] for kind, values in totals.items()}
    means = {kind: np.mean(values, axis=0) for kind, values in totals.items()}
    return {**produced, **{f"corrected.total.{kind}": one for kind, one in means.items()}}


def _pooled(golden: Golden, part: str, number: int) -> np.ndarray:
    tokens, valid = _array(golden, f"{part}.level{number}"), golden.inputs[f"{part}.valid"].numpy()
    result: np.ndarray = (tokens * valid[..., None]).sum(1) / valid.sum(1, keepdims=True)
    return result


def _maps(golden: Golden) -> Produced:
    facts = golden.config["corrected"]
    fitted, tested = golden.inputs["fit.valid"].numpy(), golden.inputs["test.valid"].numpy()
    produced: Produced = {}
    for number in range(int(golden.config["reference"]["levels"])):
        normal, tokens = _array(golden, f"fit.level{number}"), _array(golden, f"test.level{number}")
        produced[f"map.level{number}.shared"] = shared_map(normal, fitted, tokens, tested)
        produced[f"map.level{number}.position"] = position_map(
            normal, fitted, tokens, tested, ridge=float(facts["token_map_position_ridge"]),
            ddof=int(facts["token_map_position_ddof"]),
        )  # fmt: skip
    return produced
