"""Replay of golden data of latent label shift."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import softmax

from repcore.interfaces import StageResult
from repcore.verification.golden import Golden
from repcore_generic.estimators.label_shift import (
    aligned,
    artefact_control,
    class_posteriors,
    cluster_counts,
    coordinate_descent,
    flattened,
    multiplicative,
    nearest_clusters,
)


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; no stage is fed."""
    del fed
    config = golden.config
    posterior = softmax(_array(golden, "domain_logits"), axis=1)
    domains = golden.inputs["domain"].numpy()
    clusters = nearest_clusters(posterior, _array(golden, "cluster_centres"))
    counts = cluster_counts(clusters, domains, (int(config["clusters"]), int(config["domains"])))
    table = counts / counts.sum(0)
    yield StageResult("clusters", {"clusters": clusters, "counts": counts})
    yield StageResult("cluster_given_domain", {"cluster_given_domain": table})
    facts = config["factorisation"]["reference"]
    found = coordinate_descent(
        table.T,
        _array(golden, "nmf.initial_W"),
        _array(golden, "nmf.initial_H"),
        int(facts["max_iter"]),
        float(facts["tol"]),
    )
    yield StageResult(
        "reference_factorisation",
        {
            "reference.class_given_domain": found.class_given_domain,
            "reference.cluster_given_class": found.cluster_given_class,
        },
    )
    yield from _predictions(golden, domains)
    accuracy, ceiling = artefact_control(posterior, domains, _array(golden, "estimate.class_given_domain"))
    yield StageResult("artefact_control", {"control.domain_accuracy": accuracy, "control.ceiling": ceiling})
    yield from _restarts(golden, table)


def _array(golden: Golden, name: str) -> np.ndarray:
    values: np.ndarray = golden.inputs[name].double().numpy()
    return values


def _predictions(golden: Golden, domains: np.ndarray) -> Iterator[StageResult]:
    mixes = _array(golden, "estimate.class_given_domain")
    posterior = softmax(_array(golden, "test.domain_logits"), axis=1)
    tested, labels = golden.inputs["test.domain"].numpy(), golden.inputs["test.label"].numpy()
    plain, joint = class_posteriors(posterior, mixes, tested, clip=False)
    predicted = joint.argmax(1)
    renamed, accuracy = aligned(predicted, labels, len(mixes))
    yield StageResult("reference_posteriors", {"reference.p_y_x": plain, "reference.p_y_x_d": joint})
    yield StageResult(
        "reference_predictions",
        {
            "reference.prediction": predicted, "reference.prediction_without_domain": plain.argmax(1),
            "reference.aligned": renamed, "reference.accuracy": accuracy,
        },
    )  # fmt: skip
    shares = np.bincount(domains, minlength=mixes.shape[1]) / len(domains)
    flat = flattened(posterior, shares)
    plain, joint = class_posteriors(flat, mixes, tested)
    produced: dict[str, Any] = {
        "corrected.flat": flat, "corrected.p_y_x": plain, "corrected.p_y_x_d": joint,
        "corrected.condition_number": np.linalg.cond(mixes),
    }  # fmt: skip
    yield StageResult("corrected_posteriors", produced)
    yield StageResult("corrected_predictions", {"corrected.prediction": joint.argmax(1)})


def _restarts(golden: Golden, table: np.ndarray) -> Iterator[StageResult]:
    updates = int(golden.config["factorisation"]["corrected"]["updates"])
    W, H = _array(golden, "restart.W"), _array(golden, "restart.H")
    every = [multiplicative(table.T, w, h, updates) for w, h in zip(W, H, strict=True)]
    errors = np.asarray([one.error for one in every])
    best = every[int(errors.argmin())]
    yield StageResult(
        "restarts",
        {
            "restart.errors": errors,
            "restart.class_given_domain": best.class_given_domain,
            "restart.cluster_given_class": best.cluster_given_class,
        },
    )
    yield StageResult("restart_choice", {"restart.best": int(errors.argmin())})
