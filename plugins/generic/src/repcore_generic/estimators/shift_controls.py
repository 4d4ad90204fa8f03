"""What label shift is held against: domains that are shuffled, other starts, and other halves of the items.

A factorisation finds "classes" in noise as well, with a good condition number: its figures mean something only beside
those of shuffled domains. All float64. Symbols: n items, r domains, k classes, m clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, roc_auc_score

from repcore_generic.configs.estimators import LabelShiftConfig
from repcore_generic.estimators.label_shift import Mixes, class_posteriors, cluster_counts, flattened, multiplicative

STRENGTHS = (0.01, 0.1, 1.0, 10.0)
MOST_ITEMS = 10_000
HALVINGS = 5
DEVIATIONS = 3.0


@dataclass(frozen=True, slots=True)
class DomainClassifier:
    """Multinomial logistic regression on standardised vectors.

    Args:
        weight / bias: (r, D) and (r,), for vectors as they are; a domain that had no row is never said.
        strength: inverse penalty, chosen by held-out log-loss.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float

    @classmethod
    def fit(cls, rows: np.ndarray, domains: np.ndarray, count: int, strength: float | None = None) -> DomainClassifier:
        """On rows (n, D) and their domains (n,) of ``count``."""
        mean, scale = rows.mean(0), rows.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        scaled = (rows - mean) / scale
        strength = _best_strength(scaled, domains, count) if strength is None else strength
        best = LogisticRegression(C=strength, max_iter=500).fit(scaled, domains)
        weight, bias = best.coef_, best.intercept_
        if len(best.classes_) == 2:  # scikit-learn keeps one row for two classes
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        every = np.zeros((count, rows.shape[1])), np.full(count, -np.inf)
        every[0][best.classes_], every[1][best.classes_] = weight / scale, bias - (weight / scale) @ mean
        return cls(*every, strength)

    def posterior(self, rows: np.ndarray) -> np.ndarray:
        """p(d | x) of rows (n, D) -> (n, r)."""
        result: np.ndarray = softmax(rows @ self.weight.T + self.bias, axis=1)
        return result


def _best_strength(scaled: np.ndarray, domains: np.ndarray, count: int) -> float:
    held = np.arange(len(scaled)) % 5 == 0
    losses = []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=500).fit(scaled[~held], domains[~held])
        guess = np.full((int(held.sum()), count), 1e-12)
        guess[:, model.classes_] = model.predict_proba(scaled[held])
        losses.append(-np.log(guess[np.arange(len(guess)), domains[held]].clip(1e-12)).mean())
    return STRENGTHS[int(np.argmin(losses))]


def factorisations(posterior: np.ndarray, domains: np.ndarray, config: LabelShiftConfig) -> list[Mixes]:
    """Clusters of p(d | x) (n, r), and every start's factorisation of p(cluster | domain)."""
    clusters = min(config.clusters or 3 * config.classes, len(posterior))
    found = KMeans(clusters, n_init=5, random_state=config.seed).fit_predict(posterior)
    counts = cluster_counts(found, domains, (clusters, posterior.shape[1]))
    table = counts / np.maximum(counts.sum(0), 1.0)
    rng = np.random.default_rng(config.seed)
    domain_count, classes = posterior.shape[1], config.classes
    return [
        multiplicative(
            table.T, rng.uniform(0.1, 1.0, (domain_count, classes)), rng.uniform(0.1, 1.0, (classes, clusters)),
            config.updates,
        )
        for _ in range(config.starts)
    ]  # fmt: skip


def best_of(every: Sequence[Mixes]) -> Mixes:
    """The one with the smallest error."""
    return every[int(np.argmin([one.error for one in every]))]


def told_apart(posterior: np.ndarray, domains: np.ndarray) -> float:
    """Mean area under the ROC curve of each domain against the others: 0.5 if p(d | x) says nothing of domains.

    Accuracy would not do: where one domain is large, it stays the best guess for every item.
    """
    present = [one for one in range(posterior.shape[1]) if 0 < (domains == one).sum() < len(domains)]
    return float(np.mean([roc_auc_score(domains == one, posterior[:, one]) for one in present]))


def mix_spread(mixes: np.ndarray) -> float:
    """Largest difference of p(y | d) (k, r) from its mean over domains."""
    return float(np.abs(mixes - mixes.mean(1, keepdims=True)).max())


@dataclass(frozen=True, slots=True)
class Shuffled:
    """What the whole procedure gives for real domains and for shuffled ones.

    Args:
        area / areas: :func:`told_apart`, of real domains and of each shuffling.
        accuracy: of telling shuffled domains, mean.
        spreads: :func:`mix_spread` of each shuffling.
    """

    area: float
    areas: np.ndarray
    accuracy: float
    spreads: np.ndarray

    @property
    def needed(self) -> float:
        """Area above which domains are told better than shuffled ones: three standard deviations over their mean."""
        return float(self.areas.mean() + DEVIATIONS * self.areas.std(ddof=1))


def shuffled_domains(
    rows: np.ndarray, domains: np.ndarray, half: np.ndarray, strength: float, config: LabelShiftConfig
) -> Shuffled:
    """Fit again with shuffled domains, on at most ``MOST_ITEMS`` items; the real ones on the same items.

    Args:
        rows: (n, D); domains: (n,); half: bool (n,), rows that the classifier is fitted on.
        strength: of the classifier.
    """
    rng = np.random.default_rng(config.seed)
    count = int(domains.max()) + 1
    part = np.sort(rng.permutation(len(rows))[:MOST_ITEMS])
    rows, domains, half = rows[part], domains[part], half[part]

    def once(mine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        model = DomainClassifier.fit(rows[half], mine[half], count, strength)
        return model.posterior(rows[~half]), mine[~half]

    areas, accuracies, spreads = [], [], []
    for _ in range(config.shuffles):
        posterior, held = once(rng.permutation(domains))
        areas.append(told_apart(posterior, held))
        accuracies.append(float((posterior.argmax(1) == held).mean()))
        spreads.append(mix_spread(best_of(factorisations(posterior, held, config)).class_given_domain))
    return Shuffled(told_apart(*once(domains)), np.asarray(areas), float(np.mean(accuracies)), np.asarray(spreads))


def stability(
    posterior: np.ndarray, domains: np.ndarray, shares: np.ndarray, every: Sequence[Mixes], config: LabelShiftConfig
) -> tuple[float, float]:
    """Adjusted Rand index of predictions between starts, and between fits to halves of the items (1 = the same).

    Args:
        posterior: p(d | x) of held-out items (n, r); domains: theirs (n,); shares: of domains (r,).
        every: factorisations of these items, one a start.
    """
    flat = flattened(posterior, shares)

    def classes(mixes: Mixes) -> np.ndarray:
        found: np.ndarray = class_posteriors(flat, mixes.class_given_domain, domains)[1].argmax(1)
        return found

    best = best_of(every)
    said = classes(best)
    starts = [adjusted_rand_score(said, classes(one)) for one in every if one is not best]
    rng = np.random.default_rng(config.seed)
    halves = []
    for _ in range(HALVINGS):
        order = rng.permutation(len(posterior))
        both = (order[: len(order) // 2], order[len(order) // 2 :])
        pair = [classes(best_of(factorisations(posterior[one], domains[one], config))) for one in both]
        halves.append(adjusted_rand_score(*pair))
    return float(np.mean(starts)) if starts else 1.0, float(np.mean(halves))
