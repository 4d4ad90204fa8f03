"""Losses of the generic objectives against identities and slow formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from repcore_generic.estimators.dictionary import SparseAutoencoder, losses
from repcore_generic.estimators.gaussian import (
    Gaussian,
    Moments,
    conformal_p_values,
    conformal_threshold,
    head_or_tail,
)
from repcore_generic.estimators.label_shift import aligned, check_identifiable, class_posteriors
from repcore_generic.estimators.module_codes import contrast as module_contrast
from repcore_generic.estimators.module_codes import holm
from repcore_generic.objectives.alignment import alignment_loss, token_cosines
from repcore_generic.objectives.clusters import nearest_labels, spherical_kmeans
from repcore_generic.objectives.cmim import contrast
from repcore_generic.objectives.layer_pooling import token_mean
from repcore_generic.objectives.matryoshka import depth_terms, layer_divergence
from repcore_generic.objectives.mlcd_loss import Margin, cosines, coupled_loss, log_sums, sampled_centres, separate_loss
from repcore_generic.objectives.simclr import info_nce
from repcore_generic.objectives.vicreg import covariance_penalty, variance_hinge
from sklearn.covariance import ledoit_wolf

from repcore.errors import ConfigError, DataError
from repcore.evaluation.ranking import rank_metrics, ranked
from repcore.interfaces import Tokens


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ------------------------------------------------------------------------------------------------- two views


def test_info_nce_is_the_cross_entropy_over_all_other_views() -> None:
    one, two = normal(5, 4), normal(5, 4, seed=1)
    every = [*F.normalize(one, dim=1), *F.normalize(two, dim=1)]
    slow = []
    for i in range(10):
        partner = (i + 5) % 10
        others = [math.exp(float(every[i] @ every[j]) / 0.3) for j in range(10) if j != i]
        slow.append(-math.log(math.exp(float(every[i] @ every[partner]) / 0.3) / sum(others)))
    loss, accuracy = info_nce(one, two, 0.3)
    assert float(loss) == pytest.approx(np.mean(slow), rel=1e-12)
    assert 0 <= float(accuracy) <= 1
    assert float(info_nce(one, one, 0.1)[1]) == 1.0


def test_items_with_one_id_are_no_negatives_of_each_other() -> None:
    one, two = normal(3, 4), normal(3, 4, seed=1)
    every = [*F.normalize(one, dim=1), *F.normalize(two, dim=1)]
    ids = ["a", "b", "a"]
    slow = []
    for i in range(6):
        partner = (i + 3) % 6
        others = [j for j in range(6) if j == partner or ids[j % 3] != ids[i % 3]]
        total = sum(math.exp(float(every[i] @ every[j])) for j in others)
        slow.append(-math.log(math.exp(float(every[i] @ every[partner])) / total))
    assert float(info_nce(one, two, 1.0, ids)[0]) == pytest.approx(np.mean(slow), rel=1e-12)


def test_vicreg_terms() -> None:
    values = normal(50, 3) * torch.tensor([0.2, 1.0, 3.0])
    spread = values.var(0).add(1e-4).sqrt()
    assert float(variance_hinge(values)) == pytest.approx(float((1 - spread).clamp(min=0).mean()))
    covariance = np.cov(values.numpy().T)
    expected = (covariance**2).sum() - (np.diag(covariance) ** 2).sum()
    assert float(covariance_penalty(values)) == pytest.approx(expected / 3)
    assert float(variance_hinge(values[:1])) == float(covariance_penalty(values[:1])) == 0.0


# ------------------------------------------------------------------------------------------------------ cMIM


def test_equal_codes_repel_by_ln_two_and_the_length_of_codes_does_not_matter() -> None:
    z = normal(6, 5)
    same = torch.ones(6, 5, dtype=torch.float64)
    assert contrast(same, 0.5, expectation=True).numpy() == pytest.approx(np.full(6, math.log(2)))
    scaled = z * torch.arange(1, 7)[:, None]
    assert torch.allclose(contrast(z, 0.5, expectation=True), contrast(scaled, 0.5, expectation=True), atol=1e-10)
    assert float(contrast(z[:1], 0.5, expectation=True)) == 0.0


def test_expectation_does_not_grow_with_the_batch_and_the_sum_does() -> None:
    few, many = normal(64, 64), normal(1024, 64, seed=1)

    def means(expectation: bool) -> list[float]:
        return [float(contrast(one, 1.0, expectation=expectation).mean()) for one in (few, many)]

    assert means(True)[1] == pytest.approx(means(True)[0], rel=0.1)
    assert means(False)[1] > 1.5 * means(False)[0]


def test_duplicates_of_an_item_are_no_negatives() -> None:
    z = normal(3, 4)
    doubled = contrast(torch.cat([z, z]), 0.5, expectation=True, ids=list("abcabc"))
    assert torch.allclose(doubled[:3], contrast(z, 0.5, expectation=True, ids=list("abc")))


# ------------------------------------------------------------------------------------------------ Matryoshka


def test_full_width_and_no_earlier_layer_is_the_inner_loss() -> None:
    pair = {"a": normal(4, 8), "b": normal(4, 8, seed=1)}

    def loss(vectors: dict[str, torch.Tensor]) -> torch.Tensor:
        return info_nce(vectors["a"], vectors["b"], 0.3)[0]

    terms = depth_terms(pair, {}, [[8]], {8: 1.0}, loss)  # type: ignore[arg-type]
    assert torch.equal(terms["last"], loss({name: F.normalize(one, dim=-1) for name, one in pair.items()}))
    assert float(terms["kl"]) == float(terms["prior"]) == 0.0


def test_the_last_layer_gets_no_gradient_from_the_distillation() -> None:
    last, earlier = ({"a": normal(4, 8, seed=seed).requires_grad_()} for seed in (0, 1))
    layer_divergence(last, earlier, 0.3, standardise=True, detach=True).backward()
    assert last["a"].grad is None
    assert earlier["a"].grad is not None
    assert float(layer_divergence(last, last, 0.3, standardise=True, detach=True)) == pytest.approx(0.0, abs=1e-12)


def test_means_over_tokens_agree_for_dense_and_ragged() -> None:
    values = normal(2, 3, 4)
    valid = torch.tensor([[True, True, False], [True, True, True]])
    dense = token_mean(Tokens(values, valid=valid), 2)
    ragged = token_mean(Tokens(values[valid], owner=torch.tensor([0, 0, 1, 1, 1])), 2)
    assert torch.allclose(dense, ragged)
    assert torch.allclose(dense[0], values[0, :2].mean(0))


# ------------------------------------------------------------------------------------------------------ MLCD


def test_the_separate_loss_is_the_coupled_loss_plus_both_pulls() -> None:
    cosine = cosines(normal(6, 5), normal(9, 5, seed=1))
    labels = torch.tensor([[0, 1], [2, 3], [4, 5], [6, 7], [8, 0], [1, 2]])
    pull, push = log_sums(cosine, labels, torch.ones(9, dtype=torch.bool), 4.0, Margin("cosine", 0.2))
    parts = separate_loss(pull, push)
    p, g = pull.exp(), push.exp()
    assert torch.allclose(parts.positive + parts.negative, (1 + p + g + p * g).log(), atol=1e-12)
    assert torch.allclose(coupled_loss(pull, push), (1 + p * g).log(), atol=1e-12)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    renamed = torch.argsort(order)[labels]
    again = log_sums(cosine[:, order], renamed, torch.ones(9, dtype=torch.bool), 4.0, Margin("cosine", 0.2))
    assert torch.allclose(again[0], pull)
    assert torch.allclose(again[1], push)


def test_sampling_keeps_every_positive_and_leaves_room_for_others() -> None:
    labels = torch.tensor([[3, 4], [4, 9]])
    kept = sampled_centres(labels, torch.rand(20, generator=torch.Generator().manual_seed(1)), 0.5)
    assert {3, 4, 9} <= set(kept.tolist())
    assert len(kept) == 3 + int(0.5 * 17)
    assert kept.tolist() == sorted(kept.tolist())


def test_kmeans_finds_planted_directions_and_refuses_what_has_none() -> None:
    centres = F.normalize(normal(4, 6), dim=1)
    owner = torch.arange(80) % 4
    rows = centres[owner] + 0.05 * normal(80, 6, seed=1)
    found = spherical_kmeans(rows, torch.tensor([0, 1, 2, 3]), 25)
    assert torch.equal(found.assignment, owner)
    assert found.inertia[-1] <= found.inertia[0]
    assert torch.equal(nearest_labels(rows, found.centres, 1)[:, 0], owner)
    with pytest.raises(DataError, match="zero or not finite"):
        spherical_kmeans(torch.zeros(4, 3), torch.tensor([0]), 3)
    with pytest.raises(DataError, match="5 clusters of 4 items"):
        spherical_kmeans(normal(4, 3), torch.tensor([0, 1, 2, 3, 0]), 3)


# ------------------------------------------------------------------------------------------- token alignment


def test_aligned_tokens_cost_minus_one_and_padding_does_not_count() -> None:
    tokens = normal(2, 3, 4)
    valid = torch.tensor([[True, True, False], [True, False, False]])
    teacher = tokens.clone()
    teacher[~valid] = normal(3, 4, seed=2)
    assert float(alignment_loss([token_cosines(2.0 * tokens, teacher)], valid)) == pytest.approx(-1.0)
    assert float(alignment_loss([token_cosines(tokens, teacher)], None)) > -1.0


# ------------------------------------------------------------------------------------------------- estimators


def test_shrinkage_is_that_of_scikit_learn_and_chunks_merge_to_one_pass() -> None:
    rows = normal(60, 7).numpy() * np.arange(1, 8) + 100.0
    whole = Moments.of(rows)
    expected, share = ledoit_wolf(rows)
    covariance, found = whole.shrunk()
    assert found == pytest.approx(share, rel=1e-9)
    assert covariance == pytest.approx(expected, rel=1e-9)
    merged = Moments.of(rows[:5])
    for start in range(5, 60, 9):
        merged.merge(Moments.of(rows[start : start + 9]))
    assert merged.count == 60
    assert merged.mean == pytest.approx(whole.mean, rel=1e-13)
    assert merged.shrunk()[1] == pytest.approx(found, rel=1e-9)
    assert merged.shrunk()[0] == pytest.approx(covariance, rel=1e-9)


def test_distances_by_hand_and_rows_alone_equal_rows_together() -> None:
    rows = normal(40, 3).numpy()
    gaussian = Gaussian.of(Moments.of(rows))
    inverse = np.linalg.inv(Moments.of(rows).shrunk()[0])
    away = rows - rows.mean(0)
    assert gaussian.distances(rows) == pytest.approx(np.sqrt(np.einsum("nd,de,ne->n", away, inverse, away)))
    assert gaussian.distances(rows[3:4]) == pytest.approx(gaussian.distances(rows)[3:4], rel=1e-12)
    with pytest.raises(DataError, match="all feature vectors are equal"):
        Gaussian.of(Moments.of(np.ones((5, 3))))
    with pytest.raises(DataError, match="too few"):
        Gaussian.of(Moments.of(np.ones((1, 3))))


def test_a_dominant_direction_leaves_the_tail_whole() -> None:
    rows = normal(50, 4).numpy() * np.array([100.0, 1.0, 1.0, 1.0])
    assert len(head_or_tail(rows, 0.5, "tail").directions) == 4
    assert len(head_or_tail(rows, 0.5, "tail", published=True).directions) == 1
    assert len(head_or_tail(rows, 0.5, "head").directions) == 1


def test_conformal_thresholds_hold_what_they_promise() -> None:
    rng = np.random.default_rng(0)
    below = [float((rng.normal(size=500) <= conformal_threshold(rng.normal(size=99), 0.9)).mean()) for _ in range(200)]
    assert np.mean(below) == pytest.approx(0.9, abs=0.01)
    assert conformal_threshold(np.arange(5.0), 0.95) == math.inf
    assert conformal_p_values(np.array([1.0, 2.0, 3.0]), np.array([2.0, 9.0, np.nan]))[:2] == pytest.approx(
        [0.75, 0.25]
    )


def test_true_mixes_give_exact_classes_on_separable_data() -> None:
    mixes = np.array([[0.8, 0.1, 0.3], [0.2, 0.9, 0.7]])
    labels = np.array([0, 1, 1, 0])
    domains = np.array([0, 1, 2, 2])
    reverse = mixes.T / mixes.T.sum(0)
    posterior = reverse[:, labels].T  # p(d | x) of an item that surely is of its class
    plain, joint = class_posteriors(posterior, mixes, domains)
    assert plain == pytest.approx(np.eye(2)[labels], abs=1e-12)
    assert (joint.argmax(1) == labels).all()
    assert aligned(1 - labels, labels, 2)[1] == 1.0
    with pytest.raises(DataError, match="hardly differ"):
        check_identifiable(np.full((2, 3), 0.5))


def test_a_dictionary_keeps_unit_columns_and_ignores_rotations() -> None:
    model = SparseAutoencoder(4, 8, 2).double()
    model.start(torch.zeros(4), torch.Generator().manual_seed(0))
    tokens = normal(10, 4)
    first = losses(model, tokens, None, 0)
    assert ((first.features > 0).sum(1) <= 2).all()
    first.reconstruction.backward()
    model.project_gradient()
    assert model.decoder.weight.grad is not None
    along = (model.decoder.weight.grad * model.decoder.weight).sum(0)
    assert float(along.abs().max()) < 1e-10
    rotation = torch.linalg.qr(normal(4, 4, seed=3))[0]
    turned = SparseAutoencoder(4, 8, 2).double()
    turned.load_state_dict({
        "encoder.weight": model.encoder.weight @ rotation.T, "encoder.bias": model.encoder.bias,
        "decoder.weight": rotation @ model.decoder.weight, "decoder.bias": rotation @ model.decoder.bias,
    })  # fmt: skip
    assert torch.allclose(losses(turned, tokens @ rotation.T, None, 0).reconstruction, first.reconstruction)
    with pytest.raises(ConfigError, match="3 entries for embeddings of width 4"):
        SparseAutoencoder(4, 3, 1)


def test_codes_that_only_positives_show_are_scored_and_tested() -> None:
    positive = np.array([[1, 5], [1, 5], [2, 6], [1, -1]])
    negative = np.array([[3, 5], [4, 6], [3, 5], [3, 6]])
    rng = np.random.default_rng(0)
    orders = np.stack([rng.permutation(8) for _ in range(200)])
    found = module_contrast(positive, negative, orders)
    assert found.score == pytest.approx([0.5, 0.0])
    assert found.p_value[0] < found.p_value[1] == 1.0
    assert found.edges[0, 0] == 1.0
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])


def test_rank_metrics_by_hand() -> None:
    relevance = np.array([[0, 2, 0, 1]])
    order = ranked(np.array([[0.9, 0.8, 0.8, 0.1]]))
    assert order.tolist() == [[0, 2, 1, 3]]  # of equals the higher number first
    found = rank_metrics(relevance, order, (1, 3, 10))
    assert found["recall"].tolist() == [[0.0, 0.5, 1.0]]
    assert found["precision"][0] == pytest.approx([0.0, 1 / 3, 0.2])
    assert found["map"][0] == pytest.approx([0.0, 1 / 6, (1 / 3 + 2 / 4) / 2])
    assert found["mrr"][0] == pytest.approx([0.0, 1 / 3, 1 / 3])
    ideal = 2 + 1 / math.log2(3)
    assert found["ndcg"][0] == pytest.approx([0.0, 2 / math.log2(4) / ideal, (1 + 1 / math.log2(5)) / ideal])
