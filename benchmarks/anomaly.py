"""generic/gaussian-anomaly: what fitting costs, whether 5 % false positives are 5 %, and AUROC with a class left out.

Protocol. Cost: 100,000 vectors of width 512 in batches of 4096; peak of NumPy's memory above the features themselves.
False positives: planted normal items of several widths and numbers, 20 % of the fitted ones held out for the threshold
by the estimator itself; share of fresh normal items beyond it at a nominal 5 %, mean over draws. AUROC (where --vectors
is given, the folder that benchmarks/generic_objectives.py keeps): each class in turn is the anomaly, the detector is
fitted on the training part's other classes and scored on the held-out part; mean over classes and seeds, beside the
root mean square distance, k nearest neighbours and the same detector on the random twin. Nothing is tuned.

    python benchmarks/anomaly.py [--vectors FOLDER]
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measuring import facts, write_result
from repcore_generic.configs.estimators import GaussianAnomalyConfig
from repcore_generic.estimators.anomaly import GaussianAnomaly
from sklearn.metrics import roc_auc_score

from repcore.interfaces import FeatureBatch

FEWEST = 8  # of a class in the held-out part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, help="folder of vectors kept by generic_objectives.py")
    options = parser.parse_args()
    record: dict[str, Any] = facts(("repcore", "repcore-generic", "numpy", "scikit-learn"))
    record |= {"cost": cost(), "false positives at 5 %": [false_positives(*one) for one in SETTINGS]}
    if options.vectors:
        record["auroc, one class left out"] = left_out(options.vectors)
    print(write_result("anomaly", record).read_text(encoding="utf-8"))


SETTINGS = ((8, 1000, 10), (64, 1000, 6), (256, 2000, 3))
"""Width, normal items, draws."""


def batches(rows: np.ndarray, name: str = "i", size: int = 4096) -> Iterator[FeatureBatch]:
    """Rows as estimators see them."""
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        yield FeatureBatch([f"{name}{start + place}" for place in range(len(part))], part)


def cost(items: int = 100_000, width: int = 512) -> dict[str, float]:
    """Seconds, and peak MiB beside the features."""
    rows = np.random.default_rng(0).normal(size=(items, width)).astype(np.float32)
    tracemalloc.start()
    started = time.perf_counter()
    GaussianAnomaly(GaussianAnomalyConfig(calibration_share=0.02)).fit(batches(rows))
    seconds = time.perf_counter() - started
    small = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.reset_peak()
    GaussianAnomaly(GaussianAnomalyConfig()).fit(batches(rows))
    usual = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return {
        "items": items,
        "width": width,
        "features_mib": round(rows.nbytes / 2**20, 1),
        "peak_mib_above": round(usual, 1),
        "peak_mib_above_with_2_percent_held_out": round(small, 1),
        "seconds_traced": round(seconds, 1),
    }


def false_positives(width: int, items: int, draws: int) -> dict[str, Any]:
    """Share of fresh normal items beyond the threshold."""
    shares = []
    for seed in range(draws):
        rng = np.random.default_rng([seed, width])
        mixing = rng.normal(size=(width, width)) * np.geomspace(1, 0.03, width)
        normal, fresh = (np.tanh(rng.normal(size=(count, width))) @ mixing for count in (items, 2000))
        found = GaussianAnomaly(GaussianAnomalyConfig()).fit(batches(normal.astype(np.float32), f"{seed}-"))
        scored = found.apply(FeatureBatch([str(one) for one in range(len(fresh))], fresh.astype(np.float32)))
        shares.append(float(scored["anomaly"].mean()))
    return {"width": width, "items": items, "mean": round(float(np.mean(shares)), 4),
            "lowest": round(min(shares), 4), "highest": round(max(shares), 4)}  # fmt: skip


def left_out(folder: Path) -> dict[str, dict[str, float]]:
    """Domain and objective -> mean AUROC by score."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob("*.npz")):
        stored = np.load(path)
        labels = stored["labels"]
        classes = [one for one in np.unique(labels[np.isfinite(labels)]) if (labels == one).sum() >= FEWEST]
        if not 2 <= len(classes) <= 20:  # no classes
            continue
        name = path.stem.rpartition("-")[0]
        for column, score in (("trained", "score"), ("trained", "root_mean_square"), ("trained", "neighbours"),
                              ("random-init", "score")):  # fmt: skip
            word = score if column == "trained" else "score of the random twin"
            for one in classes:
                found[name][word].append(auroc(stored[column], labels, stored["train"], stored["test"], one, score))
    return {name: {word: round(float(np.mean(each)), 4) for word, each in words.items()}
            for name, words in found.items()}  # fmt: skip


def auroc(
    rows: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray, anomaly: float, score: str
) -> float:
    good = np.isfinite(rows).all(1) & np.isfinite(labels)
    normal = train[good[train] & (labels[train] != anomaly)]
    judged = test[good[test]]
    fitted = GaussianAnomaly(GaussianAnomalyConfig()).fit(batches(rows[normal]))
    scored = fitted.apply(FeatureBatch([str(one) for one in judged], rows[judged]))[score]
    return float(roc_auc_score(labels[judged] == anomaly, scored))


if __name__ == "__main__":
    main()
