"""GIN on molecular graphs: preprocessor, encoder, objective, views, recipe."""

from __future__ import annotations

from repcore.specs import (
    EncoderSpec,
    ObjectiveSpec,
    PreprocessorSpec,
    RecipeSpec,
    SystemSpec,
    TensorSpec,
    ViewsSpec,
)
from repcore_molecules.registration.molecules import BASELINES, HINTS, SMILES, SPLITS

PAPER = "Hu et al. 2020, Strategies for Pre-training Graph Neural Networks, ICLR (arXiv 1905.12265)"
LICENCE = "Apache-2.0"
GRAPH = (
    TensorSpec("atoms", "A 8", "int64"),
    TensorSpec("molecule", "A", "int64"),
    TensorSpec("bonds", "2 M", "int64"),
    TensorSpec("bond_codes", "M 4", "int64"),
)

PREPROCESSORS = (
    PreprocessorSpec(
        name="graph",
        summary="Cleaning, and the graph of atoms and bonds that RDKit reads",
        target="repcore_molecules.preprocessors.graph:MoleculeGraphPreprocessor",
        config="repcore_molecules.configs.graphs:MoleculeGraphConfig",
        accepts=SMILES,
        produces=GRAPH,
        baselines=BASELINES,
        splits=SPLITS,
    ),
)

ENCODERS = (
    EncoderSpec(
        name="gin",
        summary="Graph isomorphism network over atoms and bonds",
        target="repcore_molecules.encoders.gin:Gin",
        config="repcore_molecules.configs.graphs:GinConfig",
        inputs=GRAPH,
        outputs=(TensorSpec("pooled", "B P"), TensorSpec("atoms", "A D")),
        poolings=("sum-mean-layers", "sum-mean", "sum", "mean", "max"),
        levels=("atoms",),
        capabilities=("layers", "embed-tokens", "encode-tokens", "run-from", "until"),
        paper=PAPER,
        licence=LICENCE,
        needs=("rdkit",),
        hints=HINTS,
        example="repcore_molecules.encoders.gin:tiny_example",
    ),
)

OBJECTIVES = (
    ObjectiveSpec(
        name="masked-atoms",
        summary="Tell hidden atoms from the atoms and bonds around them",
        target="repcore_molecules.objectives.masked_atoms:MaskedAtoms",
        config="repcore_molecules.configs.graphs:MaskedAtomsConfig",
        needs=("atoms", "embed-tokens", "encode-tokens"),
        paper=PAPER,
        licence=LICENCE,
    ),
)

VIEWS = (
    ViewsSpec(
        name="atom-pair",
        summary="Two connected parts of a molecule with some atoms hidden",
        target="repcore_molecules.views.atoms:AtomPair",
        config="repcore_molecules.configs.graphs:AtomPairConfig",
        names=("a", "b"),
        role="pair",
        accepts=GRAPH,
    ),
    ViewsSpec(
        name="atom-weak-strong",
        summary="Nearly all of a molecule, and a smaller part with many atoms hidden",
        target="repcore_molecules.views.atoms:AtomWeakStrong",
        config="repcore_molecules.configs.graphs:AtomWeakStrongConfig",
        names=("weak", "strong"),
        role="weak-strong",
        accepts=GRAPH,
    ),
)

RECIPES = (
    RecipeSpec(
        name="gin",
        summary="Pre-training of GIN on molecular graphs",
        presets={"tiny": "repcore_molecules.recipes.gin:tiny", "small": "repcore_molecules.recipes.gin:small"},
        paper=PAPER,
    ),
)

SYSTEMS = (
    SystemSpec(
        name="gin",
        summary="GIN on molecular graphs",
        paper=PAPER,
        licence=LICENCE,
        encoders=("gin",),
        objectives=("masked-atoms",),
        recipes=("gin",),
        differences=(
            ("atoms", "atomic number and chirality", "eight features, as in the Open Graph Benchmark", ""),
            (
                "normalisation",
                "batch norm behind each layer",
                "layer norm, residual layers",
                "",
            ),
            ("a molecule's vector", "mean of the last layer", "sums and means of all layers", "encoder.pooling"),
            ("a hidden atom", "element and chirality hidden", "all features hidden", ""),
        ),
    ),
)
