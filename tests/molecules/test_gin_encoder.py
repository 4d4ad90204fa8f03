"""GIN over atoms and bonds against explicit loops, its orders, poolings and layers, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from repcore.errors import ConfigError, ShapeError
from repcore.interfaces import Batch, Sample
from repcore_molecules.configs.graphs import GinConfig, MoleculeGraphConfig
from repcore_molecules.encoders.gin import POOLINGS, SUM_UNIT, Gin, tiny_example
from repcore_molecules.preprocessors.graph import MoleculeGraphPreprocessor
from repcore_molecules.smiles.graphs import ATOM_CODES, BOND_CODES, MoleculeGraph

TEXTS = ("CC(=O)Oc1ccccc1C(=O)O", "C", r"C/C=C\C#N", "[Na+].[Cl-]", "C[C@H](N)C(=O)O", "*C[2H]")


class Every:
    """A reader of these texts."""

    def __getitem__(self, index: int) -> Sample:
        return Sample(str(index), TEXTS[index])

    def __len__(self) -> int:
        return len(TEXTS)


def molecules(texts: tuple[str, ...] = TEXTS) -> tuple[MoleculeGraphPreprocessor, list[Any]]:
    preprocessor = MoleculeGraphPreprocessor(MoleculeGraphConfig())
    preprocessor.fit(Every(), range(len(TEXTS)))  # type: ignore[arg-type]
    return preprocessor, [preprocessor.prepare(Sample("", text))[0] for text in texts]


PREPROCESSOR, ITEMS = molecules()
CONFIG = GinConfig(width=12, layers=3, elements=PREPROCESSOR.facts()["elements"])


def build(**changes: Any) -> Gin:
    torch.manual_seed(0)
    encoder = Gin(replace(CONFIG, **changes)).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.4)  # fresh norms and biases would tell nothing
    return encoder


def batch_of(items: list[Any]) -> Batch:
    return PREPROCESSOR.collate(items)


def slow_layers(encoder: Gin, graph: MoleculeGraph) -> list[list[list[float]]]:
    """Atoms of one molecule before and after each layer, number by number."""
    state = {name: value.double().tolist() for name, value in encoder.state_dict().items()}
    width, count = encoder.config.width, len(graph.atoms)

    def row(table: str, sizes: tuple[int, ...], codes: list[int]) -> list[float]:
        found, first = [0.0] * width, 0
        for size, code in zip(sizes, codes, strict=True):
            found = [one + other for one, other in zip(found, state[table][first + code], strict=True)]
            first += size
        return found

    def linear(name: str, values: list[float]) -> list[float]:
        rows = zip(state[f"{name}.weight"], state[f"{name}.bias"], strict=True)
        return [sum(w * v for w, v in zip(weights, values, strict=True)) + bias for weights, bias in rows]

    def normed(name: str, values: list[float]) -> list[float]:
        mean = sum(values) / width
        deviation = math.sqrt(sum((one - mean) ** 2 for one in values) / width + 1e-5)
        scales = zip(values, state[f"{name}.weight"], state[f"{name}.bias"], strict=True)
        return [(one - mean) / deviation * scale + shift for one, scale, shift in scales]

    sizes = (int(encoder.config.elements or 0), *ATOM_CODES[1:])
    layers = [[row("atoms.weight", sizes, codes) for codes in graph.atoms.tolist()]]
    for number in range(encoder.depth):
        atoms, name, after = layers[-1], f"layers.{number}", []
        for place in range(count):
            heard = list(atoms[place])
            for (one, other), codes in zip(graph.ends.tolist(), graph.bonds.tolist(), strict=True):
                if place in (one, other):
                    neighbour = atoms[other if place == one else one]
                    bond = row(f"{name}.bonds.weight", BOND_CODES, codes)
                    heard = [h + max(0.0, n + b) for h, n, b in zip(heard, neighbour, bond, strict=True)]
            inner = linear(f"{name}.network.0", normed(f"{name}.norm", heard))
            inner = [0.5 * one * (1 + math.erf(one / math.sqrt(2))) for one in inner]
            added = linear(f"{name}.network.2", inner)
            after.append([one + other for one, other in zip(atoms[place], added, strict=True)])
        layers.append(after)
    return layers


@torch.no_grad()
def test_equal_to_loops_over_atoms_and_bonds() -> None:
    encoder = build().double()
    features = encoder(batch_of(ITEMS), layers=range(4))
    slow = [slow_layers(encoder, item.values) for item in ITEMS]
    for number in range(4):
        ours = features.layers[number]
        expected = torch.tensor([atom for molecule in slow for atom in molecule[number]], dtype=torch.float64)
        torch.testing.assert_close(ours.values, expected, rtol=0, atol=1e-11)
        assert ours.owner is not None
        assert ours.owner.tolist() == [place for place, item in enumerate(ITEMS) for _ in item.values.atoms]
    torch.testing.assert_close(features.tokens["atoms"].values, features.layers[3].values, rtol=0, atol=0)
    for place, molecule in enumerate(slow):
        states = [torch.tensor(one, dtype=torch.float64) for one in molecule]
        side_by_side = torch.cat(states, 1)
        by_hand = {
            "mean": states[-1].mean(0),
            "sum": states[-1].sum(0) / SUM_UNIT,
            "max": states[-1].amax(0),
            "sum-mean": torch.cat([states[-1].sum(0) / SUM_UNIT, states[-1].mean(0)]),
            "sum-mean-layers": torch.cat([side_by_side.sum(0) / SUM_UNIT, side_by_side.mean(0)]),
        }
        assert set(by_hand) == set(POOLINGS)
        for name, vector in by_hand.items():
            torch.testing.assert_close(encoder.pool(features, name)[place], vector, rtol=0, atol=1e-11)


@pytest.mark.parametrize("pooling", POOLINGS)
@torch.no_grad()
def test_a_vector_is_as_wide_as_it_says(pooling: str) -> None:
    encoder = build(pooling=pooling)
    features = encoder(batch_of(ITEMS))
    assert features.pooled.shape == (len(ITEMS), encoder.dim)
    assert torch.equal(features.pooled, encoder.pool(features, pooling))
    widths = {"sum": 12, "mean": 12, "max": 12, "sum-mean": 24, "sum-mean-layers": 96}
    assert encoder.dim == widths[pooling]
    half = encoder.to(torch.bfloat16)(batch_of(ITEMS))
    assert half.tokens["atoms"].values.dtype == torch.bfloat16
    assert half.pooled.dtype == torch.float32
    with pytest.raises(ConfigError, match=r"no pooling 'median'[\s\S]*sum-mean-layers, sum-mean, sum, mean, max"):
        encoder.pool(features, "median")


def turned(item: Any, order: np.ndarray, generator: np.random.Generator) -> Any:
    """The same molecule with its atoms in another order, its bonds too, and some of these the other way round."""
    graph, place = item.values, np.argsort(order)
    ends = place[graph.ends.astype(int)].reshape(-1, 2)
    flip = generator.random(len(ends)) < 0.5
    ends[flip] = ends[flip][:, ::-1]
    mixed = generator.permutation(len(ends))
    return replace(item, values=MoleculeGraph(graph.atoms[order], ends[mixed], graph.bonds[mixed]))


@torch.no_grad()
def test_neither_order_of_atoms_nor_batch_mates_change_anything() -> None:
    encoder, generator = build().double(), np.random.default_rng(3)
    whole = encoder(batch_of(ITEMS))
    owner = whole.tokens["atoms"].owner
    for place, item in enumerate(ITEMS):
        order = generator.permutation(len(item.values.atoms))
        alone = encoder(batch_of([turned(item, order, generator)]))
        torch.testing.assert_close(alone.pooled[0], whole.pooled[place], rtol=0, atol=1e-11)
        ours = whole.tokens["atoms"].values[owner == place][torch.from_numpy(order)]
        torch.testing.assert_close(alone.tokens["atoms"].values, ours, rtol=0, atol=1e-11)
    back = encoder(batch_of(ITEMS[::-1])).pooled.flip(0)
    torch.testing.assert_close(back, whole.pooled, rtol=0, atol=1e-11)


@torch.no_grad()
def test_every_feature_counts() -> None:
    """A change of any code of an atom or a bond moves the vector: no column is left out."""
    encoder, item = build(), ITEMS[0]
    vector = encoder(batch_of([item])).pooled
    parts: tuple[tuple[str, tuple[int, ...]], ...] = (
        ("atoms", (CONFIG.elements or 0, *ATOM_CODES[1:])),
        ("bonds", BOND_CODES),
    )
    for part, sizes in parts:
        for column, size in enumerate(sizes):
            codes = getattr(item.values, part).copy()
            codes[2, column] = (codes[2, column] + 1) % size
            other = encoder(batch_of([replace(item, values=replace(item.values, **{part: codes}))])).pooled
            assert float((other - vector).abs().max()) > 1e-3, (part, column)


def test_mirror_images_and_sides_of_a_double_bond_are_told_apart() -> None:
    encoder = build()
    for one, other in (("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"), (r"C/C=C\C", "C/C=C/C")):
        _, items = molecules((one, other))
        vectors = encoder(batch_of(items)).pooled.detach()
        assert float((vectors[0] - vectors[1]).abs().max()) > 1e-3


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_parameter_has_a_gradient(pooling: str) -> None:
    encoder = build(pooling=pooling)
    encoder(batch_of(ITEMS)).pooled.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@torch.no_grad()
def test_a_pass_can_stop_and_go_on() -> None:
    encoder, batch = build(pooling="sum-mean"), batch_of(ITEMS)
    whole = encoder(batch, layers=(0, 1, 2, 3))
    stopped = encoder(batch, layers=(1,), until=2)
    assert torch.equal(stopped.tokens["atoms"].values, whole.layers[2].values)
    assert torch.equal(stopped.layers[1].values, whole.layers[1].values)
    for number in range(4):
        rest = encoder.run_from(number, whole.layers[number], batch, layers=(3,))
        assert torch.equal(rest.pooled, whole.pooled)
        assert torch.equal(rest.layers[3].values, whole.layers[3].values)
    embedded = encoder.embed_tokens(batch)
    assert torch.equal(encoder.encode_tokens(embedded, batch).pooled, whole.pooled)
    for call in (
        lambda: encoder(batch, layers=(0, 4)),
        lambda: encoder(batch, until=4),
        lambda: encoder.run_from(4, embedded, batch),
    ):
        with pytest.raises(ConfigError, match=r"no layer 4[\s\S]*0 \(embedding output\) to 3"):
            call()
    with pytest.raises(ConfigError, match=r"no layer 3[\s\S]*to 2"):
        encoder(batch, layers=(3,), until=2)
    with pytest.raises(ConfigError, match=r"no layer 1[\s\S]*2 to 3"):
        encoder.run_from(2, whole.layers[2], batch, layers=(1, 3))


@torch.no_grad()
def test_evaluation_is_deterministic_and_training_drops_out() -> None:
    encoder, batch = build(dropout=0.3), batch_of(ITEMS)
    assert torch.equal(encoder(batch).pooled, encoder(batch).pooled)
    encoder.train()
    torch.manual_seed(1)
    first = encoder(batch).pooled
    assert not torch.equal(first, encoder(batch).pooled)
    torch.manual_seed(1)
    assert torch.equal(first, encoder(batch).pooled)


def test_initial_weights_come_from_the_generator() -> None:
    ours, again = Gin(CONFIG), Gin(CONFIG)
    for encoder in (ours, again):
        encoder.initialise(torch.Generator().manual_seed(4))
    for name, value in ours.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert not any("table" in name or "row" in name for name in ours.state_dict()), "what is known is not saved"


def changed(**parts: Tensor) -> Batch:
    batch = batch_of(ITEMS)
    return Batch(inputs={**batch.inputs, **parts}, size=batch.size)


def test_wrong_shapes_are_refused() -> None:
    encoder = build()
    inputs = batch_of(ITEMS).inputs
    with pytest.raises(ShapeError, match=r"batch.inputs with atoms, molecule, bonds, bond_codes"):
        encoder(Batch(inputs=torch.zeros(2, 2), size=2))
    with pytest.raises(ShapeError, match=r"atoms has shape \(\d+, 7\); molecules/gin expects \(A, 8\)"):
        encoder(changed(atoms=inputs["atoms"][:, :7]))
    with pytest.raises(ShapeError, match="molecule has shape"):
        encoder(changed(molecule=inputs["molecule"][1:]))
    with pytest.raises(ShapeError, match=r"bonds has shape \(\d+, 2\)"):
        encoder(changed(bonds=inputs["bonds"].T))
    with pytest.raises(ShapeError, match="bond_codes has shape"):
        encoder(changed(bond_codes=inputs["bond_codes"][1:]))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("atoms", CONFIG.elements, r"atoms holds codes from 0 to .*encoder\.elements belong together"),
        ("atoms", -1, "atoms holds codes from -1"),
        ("bond_codes", 5, "bond_codes holds codes"),
        ("bonds", 99, r"bonds join atoms from 0 to 99; there are \d+"),
        ("bonds", -1, "bonds join atoms from -1"),
        ("molecule", 6, r"molecule holds numbers from 0 to 6; the batch has 6 molecules"),
        ("molecule", -2, "molecule holds numbers from -2"),
    ],
)
def test_wrong_codes_are_refused(name: str, value: int, words: str) -> None:
    wrong = batch_of(ITEMS).inputs[name].clone()
    wrong[(0,) * wrong.dim()] = value
    with pytest.raises(ShapeError, match=rf"(?s){words}"):
        build()(changed(**{name: wrong}))


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="number of elements is not known"):
        Gin(GinConfig())
    config, batch = tiny_example()
    assert Gin(config)(batch).pooled.shape == (2, 2 * 3 * 8)
