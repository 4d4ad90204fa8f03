"""GIN: a graph isomorphism network over the atoms and bonds of a molecule.

Source: Xu et al. 2019 (arXiv 1810.00826) for the network; Hu et al. 2020 (arXiv 1905.12265, appendix A) for the form
with features of bonds: an atom's update is a small network of its own vector plus the sum over its neighbours of theirs
with the bond's. Differs: messages pass a ReLU before they are summed (GINE, as in the public torch-geometric), layers
are residual with a layer norm before the small network (no statistics of a batch), atoms have eight features (as in the
Open Graph Benchmark) instead of two, and what a molecule's vector holds is sums beside means.

Symbols: B molecules, A atoms, M directed bonds (each bond twice), D width, L layers.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from repcore.errors import ConfigError, ShapeError
from repcore.interfaces import Batch, Features, Tokens
from repcore.shapes import check_shape
from repcore_molecules.configs.graphs import GinConfig
from repcore_molecules.smiles.graphs import ATOM_CODES, BOND_CODES

NAME, LEVEL = "molecules/gin", "atoms"
POOLINGS = ("sum-mean-layers", "sum-mean", "sum", "mean", "max")
BY_LAYERS = "sum-mean-layers"
SUM_UNIT = 16.0  # atoms: a sum over a usual molecule is then of the size of a mean
ATOM_DEVIATION = 0.3  # of a row of the atom table; eight of them make an atom


class GinLayer(nn.Module):
    """``h + MLP(norm(h + sum over neighbours of relu(h_neighbour + bond)))``.

    Args:
        width: D.
        dropout: on what is added.

    Call:
        atoms: float (A, D).
        source, target: int64 (M,), atoms that each directed bond goes from and to.
        kind: int64 (M,), number of the bond's combination of codes.
        table: int64 (K, 4), codes of each combination, rows of the layer's bond table.
    Returns:
        float (A, D).
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.bonds = nn.EmbeddingBag(sum(BOND_CODES), width, mode="sum")
        self.norm = nn.LayerNorm(width)
        self.network = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, atoms: Tensor, source: Tensor, target: Tensor, kind: Tensor, table: Tensor) -> Tensor:
        bonds = self.bonds(table)  # (K, D): there are few combinations, and many bonds
        message = torch.relu(atoms.index_select(0, source) + bonds.index_select(0, kind))
        heard = atoms.index_add(0, target, message.to(atoms.dtype))
        changed: Tensor = atoms + self.dropout(self.network(self.norm(heard)))
        return changed


class Gin(nn.Module):
    """Encoder ``molecules/gin``.

    Args:
        config: see :class:`GinConfig`; ``elements`` must be known.

    Call:
        batch.inputs: as :class:`repcore_molecules.preprocessors.graph.MoleculeGraphPreprocessor` collates them.
        layers: numbers of layers whose atoms to return; 0 is the embedding output, L the last layer.
        until: the last layer to compute, whose atoms then take the place of the last; None = all.
    Returns:
        pooled (B, D'); level ``atoms``, float (A, D), ragged.

    Raises:
        ConfigError: the number of elements is not known, or a layer does not exist.
        ShapeError: wrong shapes, or codes beyond their tables.
    """

    poolings = POOLINGS
    first_atom_row: Tensor  # int64 (8,), of each feature in the table of atoms
    bond_table: Tensor  # int64 (K, 4)
    bond_steps: Tensor  # int64 (4,)

    def __init__(self, config: GinConfig) -> None:
        super().__init__()
        if config.elements is None:
            raise ConfigError(
                "the number of elements is not known", field="encoder.elements", hint="fit a preprocessor, or set it"
            )
        self.config = config
        self.pooling = config.pooling
        parts = {BY_LAYERS: 2 * (config.layers + 1), "sum-mean": 2}
        self.dim = config.width * parts.get(config.pooling, 1)
        sizes = (config.elements, *ATOM_CODES[1:])
        self.atoms = nn.EmbeddingBag(sum(sizes), config.width, mode="sum")
        self.layers = nn.ModuleList(GinLayer(config.width, config.dropout) for _ in range(config.layers))
        self.register_buffer("first_atom_row", _first_rows(sizes), persistent=False)
        self.register_buffer("bond_table", _combinations(), persistent=False)
        self.register_buffer("bond_steps", _steps(), persistent=False)
        self._sizes = sizes
        self.initialise()

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Normal tables, linear layers uniform by their inputs as usual, unit norms."""
        nn.init.normal_(self.atoms.weight, 0.0, ATOM_DEVIATION, generator=generator)
        for layer in self.layers:
            nn.init.normal_(layer.bonds.weight, 0.0, 1.0, generator=generator)  # type: ignore[union-attr, arg-type]
            for part in layer.network:  # type: ignore[union-attr]
                if isinstance(part, nn.Linear):
                    bound = part.in_features**-0.5
                    nn.init.uniform_(part.weight, -bound, bound, generator=generator)
                    nn.init.zeros_(part.bias)

    @property
    def depth(self) -> int:
        """Number of the last layer."""
        return len(self.layers)

    def token_width(self, level: str = LEVEL) -> int:
        """Width of atoms, the same at every layer."""
        del level  # there is one
        return self.config.width

    def forward(self, batch: Batch, layers: Sequence[int] = (), until: int | None = None) -> Features:
        return self._run(self.embed_tokens(batch), batch, layers, until)

    def embed_tokens(self, batch: Batch) -> Tokens:
        """Atoms before the first layer, float (A, D)."""
        inputs = self._checked(batch)
        return Tokens(self.atoms(inputs["atoms"] + self.first_atom_row), owner=inputs["molecule"])

    def encode_tokens(
        self, tokens: Tokens, batch: Batch, layers: Sequence[int] = (), until: int | None = None
    ) -> Features:
        """Features of embedded atoms, some of which may have been replaced."""
        return self._run(tokens, batch, layers, until)

    def run_from(self, layer: int, hidden: Tokens, batch: Batch, layers: Sequence[int] = ()) -> Features:
        """Features from the atoms of a layer, some of which may have been replaced; earlier layers do not run."""
        self._check_layers([layer])
        return self._run(hidden, batch, layers, None, first=layer)

    def _run(self, tokens: Tokens, batch: Batch, layers: Sequence[int], until: int | None, first: int = 0) -> Features:
        """The layers over the output of layer ``first``."""
        last = self.depth if until is None else until
        self._check_layers([*layers, last], least=first, most=last)
        owner = batch.inputs["molecule"]
        source, target = batch.inputs["bonds"]
        kind = (batch.inputs["bond_codes"] * self.bond_steps).sum(1)
        hidden, states = tokens.values, {first: tokens.values}
        for number, layer in enumerate(itertools.islice(self.layers, first, last), start=first + 1):
            states[number] = hidden = layer(hidden, source, target, kind, self.bond_table)
        features = Features(
            pooled=hidden,
            tokens={LEVEL: Tokens(hidden, owner=owner)},
            layers={number: Tokens(states[number], owner=owner) for number in sorted(layers)},
            extras={"states": tuple(states.values()), "molecules": batch.size},
        )
        features.pooled = self.pool(features, self.pooling)
        return features

    def pool(self, features: Features, name: str) -> Tensor:
        """One vector a molecule, float (B, D'), at least float32.

        Args:
            features: as ``forward`` returned them.
            name: ``sum`` in units of 16 atoms, ``mean`` or ``max`` of atoms, float (B, D); ``sum-mean``, sum and mean
                side by side (B, 2 D); ``sum-mean-layers``, these of the embedding output and every layer
                (B, 2 (L + 1) D).

        Raises:
            ConfigError: unknown name.
        """
        tokens, count = features.tokens[LEVEL], features.extras["molecules"]
        assert tokens.owner is not None
        states = features.extras["states"] if name == BY_LAYERS else (tokens.values,)
        values = torch.cat(states, 1)
        values = values.to(torch.promote_types(values.dtype, torch.float32))
        if name == "max":
            index = tokens.owner[:, None].expand_as(values)
            return values.new_zeros(count, values.shape[1]).scatter_reduce(0, index, values, "amax", include_self=False)
        if name not in POOLINGS:
            raise ConfigError(f"{NAME} has no pooling {name!r}", expected=", ".join(POOLINGS))
        total = values.new_zeros(count, values.shape[1]).index_add(0, tokens.owner, values)
        if name == "sum":
            return total / SUM_UNIT
        atoms = values.new_zeros(count).index_add(0, tokens.owner, torch.ones_like(values[:, 0]))
        mean = total / atoms.clamp(min=1)[:, None]
        return mean if name == "mean" else torch.cat([total / SUM_UNIT, mean], 1)

    def _checked(self, batch: Batch) -> Mapping[str, Tensor]:
        inputs = batch.inputs
        names = ("atoms", "molecule", "bonds", "bond_codes")
        if not isinstance(inputs, Mapping) or any(name not in inputs for name in names):
            raise ShapeError(f"{NAME} expects batch.inputs with {', '.join(names)}", got=type(inputs).__name__)
        sizes = check_shape(inputs["atoms"], f"A {len(ATOM_CODES)}", name="atoms", owner=NAME)
        check_shape(inputs["molecule"], "A", name="molecule", owner=NAME, bound=sizes)
        check_shape(inputs["bonds"], "2 M", name="bonds", owner=NAME, bound=sizes)
        check_shape(inputs["bond_codes"], f"M {len(BOND_CODES)}", name="bond_codes", owner=NAME, bound=sizes)
        if inputs["atoms"].device.type == "cpu" and not torch.compiler.is_compiling():
            self._check_codes("atoms", inputs["atoms"], self._sizes)
            self._check_codes("bond_codes", inputs["bond_codes"], BOND_CODES)
            self._check_places("bonds join atoms", inputs["bonds"], sizes["A"], "there are {} atoms")
            self._check_places("molecule holds numbers", inputs["molecule"], batch.size, "the batch has {} molecules")
        return inputs

    @staticmethod
    def _check_codes(name: str, codes: Tensor, sizes: Sequence[int]) -> None:
        """Refuse what the tables have no row for."""
        if not codes.numel():
            return
        low, high = codes.min(), codes.amax(0)
        if int(low) < 0 or bool((high >= torch.tensor(sizes)).any()):
            raise ShapeError(
                f"{name} holds codes from {int(low)} to {high.tolist()} a column; {NAME} has {list(sizes)} rows",
                hint="the preprocessor's elements and encoder.elements belong together",
            )

    @staticmethod
    def _check_places(what: str, numbers: Tensor, count: int, there_are: str) -> None:
        """Refuse numbers of atoms or molecules that are not there."""
        if not numbers.numel():
            return
        low, high = (int(one) for one in torch.aminmax(numbers))
        if low < 0 or high >= count:
            raise ShapeError(
                f"{what} from {low} to {high}; {there_are.format(count)}",
                hint="numbers run through the batch from 0, as MoleculeGraphPreprocessor.collate makes them",
            )

    def _check_layers(self, layers: Sequence[int], least: int = 0, most: int | None = None) -> None:
        last = self.depth if most is None else min(most, self.depth)
        wrong = [number for number in layers if not least <= number <= last]
        if wrong:
            raise ConfigError(
                f"{NAME} has no layer {', '.join(map(str, dict.fromkeys(wrong)))}" + (" in this pass" if least else ""),
                expected=f"{least}{'' if least else ' (embedding output)'} to {last}",
            )


def _first_rows(sizes: Sequence[int]) -> Tensor:
    """First row of each feature in a table of all of them, int64 (F,)."""
    return torch.tensor([0, *itertools.accumulate(sizes[:-1])])


def _combinations() -> Tensor:
    """Table rows of every combination of bond codes, int64 (K, 4)."""
    return torch.tensor(list(itertools.product(*map(range, BOND_CODES)))) + _first_rows(BOND_CODES)


def _steps() -> Tensor:
    """By which codes become the number of their combination, int64 (4,)."""
    steps = [1]
    for size in reversed(BOND_CODES[1:]):
        steps.insert(0, steps[0] * size)
    return torch.tensor(steps)


def tiny_example() -> tuple[GinConfig, Batch]:
    """A configuration and a batch of ethanol and methane, for checks and docs."""
    from repcore.interfaces import Sample
    from repcore_molecules.configs.graphs import MoleculeGraphConfig
    from repcore_molecules.preprocessors.graph import MoleculeGraphPreprocessor

    preprocessor = MoleculeGraphPreprocessor(MoleculeGraphConfig())
    samples = [Sample(text, text) for text in ("CCO", "C")]
    preprocessor.fit(samples, range(len(samples)))  # type: ignore[arg-type]  # a list gives samples by number, too
    items = [preprocessor.prepare(sample)[0] for sample in samples]
    return GinConfig(width=8, layers=2, elements=preprocessor.facts()["elements"]), preprocessor.collate(items)
