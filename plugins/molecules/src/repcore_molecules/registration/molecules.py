"""Tables of molecules, the embedded set, and their way to tokens."""

from __future__ import annotations

from repcore.specs import (
    DatasetSpec,
    PreprocessorSpec,
    TargetSpec,
    TensorSpec,
    ViewsSpec,
)

TOKENS = (
    TensorSpec("input_ids", "B T", "int64"),
    TensorSpec("attention_mask", "B T", "bool"),
)
HINTS = {"rdkit": "pip install rdkit", "selfies": "pip install selfies"}

SMILES = (TensorSpec("smiles", "", "text"),)
BASELINES = {
    "symbol-counts": "repcore_molecules.preprocessors.baselines:symbol_counts",
    "ecfp4": "repcore_molecules.preprocessors.baselines:ecfp4",
    "descriptors": "repcore_molecules.preprocessors.baselines:descriptors",
}
SPLITS = {
    "scaffold": "repcore_molecules.preprocessors.splits:scaffold",
    "scaffold-seeded": "repcore_molecules.preprocessors.splits:balanced",
    "molecule": "repcore_molecules.preprocessors.splits:molecule",
}

DATASETS = (
    DatasetSpec(
        name="smiles-table",
        summary="CSV, TSV, SMI, parquet with SMILES, InChI or SELFIES, and SDF (.gz); MoleculeNet layouts",
        target="repcore_molecules.datasets.tables:MoleculeTable",
        config="repcore_molecules.configs.data:MoleculeTableConfig",
        produces=SMILES,
        sniff="repcore_molecules.datasets.table_files:sniff_table",
        shards=True,
        render="repcore_molecules.rendering.molecules:draw_molecule",
        render_heat="repcore_molecules.rendering.heat:draw_heat",
        needs=("rdkit",),
        hints=HINTS,
    ),
    DatasetSpec(
        name="nci",
        summary="4,999 real molecules that ship inside RDKit, RDKit descriptors as labels",
        target="repcore_molecules.datasets.nci:NciMolecules",
        config="repcore_molecules.configs.data:NciConfig",
        produces=SMILES,
        targets=(
            TargetSpec("logp", "regression"),
            TargetSpec("tpsa", "regression", unit="A2"),
            TargetSpec("sp3_fraction", "regression"),
        ),
        render="repcore_molecules.rendering.molecules:draw_molecule",
        render_heat="repcore_molecules.rendering.heat:draw_heat",
        embedded=True,
        licence="NCI Open Database, public domain, as shipped by RDKit (BSD-3-Clause)",
        needs=("rdkit",),
        hints=HINTS,
    ),
)

PREPROCESSORS = (
    PreprocessorSpec(
        name="selfies",
        summary="Cleaning, SELFIES, tokenisation in four modes, padding",
        target="repcore_molecules.preprocessors.selfies:SelfiesPreprocessor",
        config="repcore_molecules.configs.data:SelfiesConfig",
        accepts=SMILES,
        produces=TOKENS,
        version=2,  # atom maps are stripped
        baselines=BASELINES,
        splits=SPLITS,
    ),
)

VIEWS = (
    ViewsSpec(
        name="symbol-pair",
        summary="Two stretches of a molecule's symbols with some masked and replaced",
        target="repcore_molecules.views.symbols:SymbolPair",
        config="repcore_molecules.configs.views:SymbolPairConfig",
        names=("a", "b"),
        role="pair",
        accepts=TOKENS,
    ),
    ViewsSpec(
        name="symbol-weak-strong",
        summary="Nearly all of a molecule's symbols, and a shorter stretch with many masked and replaced",
        target="repcore_molecules.views.symbols:SymbolWeakStrong",
        config="repcore_molecules.configs.views:SymbolWeakStrongConfig",
        names=("weak", "strong"),
        role="weak-strong",
        accepts=TOKENS,
    ),
)
