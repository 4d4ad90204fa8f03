"""What the molecules plugin registers."""

from __future__ import annotations

from repcore.hooks import API_VERSION, hookimpl
from repcore.specs import (
    CheckpointSpec,
    CommandSpec,
    DatasetSpec,
    EncoderSpec,
    ObjectiveSpec,
    PluginInfo,
    PreprocessorSpec,
    RecipeSpec,
    SystemSpec,
    TargetSpec,
    TensorSpec,
)

PAPER = "Yüksel et al. 2023, Mach. Learn.: Sci. Technol. 4 025035 (arXiv 2304.04662)"
TOKENS = (
    TensorSpec("input_ids", "B T", "int64"),
    TensorSpec("attention_mask", "B T", "bool"),
)
HINTS = {"rdkit": "pip install rdkit", "selfies": "pip install selfies"}


@hookimpl
def repcore_plugin_info() -> PluginInfo:
    return PluginInfo(
        title="Molecules",
        domain="molecules",
        api_version=API_VERSION,
        summary="SMILES and SELFIES: SELFormer",
        docs="README.md",
        licence="Apache-2.0",
    )


@hookimpl
def repcore_encoders() -> list[EncoderSpec]:
    return [
        EncoderSpec(
            name="selformer",
            summary="RoBERTa over SELFIES tokens",
            target="repcore_molecules.encoders.selformer:Selformer",
            config="repcore_molecules.configs.selformer:SelformerConfig",
            inputs=TOKENS,
            outputs=(TensorSpec("pooled", "B P"), TensorSpec("tokens", "B T D")),
            poolings=("mean", "mean-symbols", "bos", "max", "mean-layers"),
            levels=("tokens",),
            capabilities=("token-ids",),
            paper=PAPER,
            licence="Apache-2.0 (this code); published weights come from a GPL-3.0 repository",
            needs=("selfies", "rdkit"),
            hints=HINTS,
            example="repcore_molecules.encoders.selformer:tiny_example",
        )
    ]


@hookimpl
def repcore_objectives() -> list[ObjectiveSpec]:
    return [
        ObjectiveSpec(
            name="masked-language",
            summary="Predict hidden tokens (80/10/10 rule), head only where something is hidden",
            target="repcore_molecules.objectives.masked_language:MaskedLanguage",
            config="repcore_molecules.configs.selformer:MaskedLanguageConfig",
            needs=("token-ids",),
            decay_rule="repcore_molecules.objectives.masked_language:has_weight_decay",
            paper=PAPER,
            licence="Apache-2.0",
        )
    ]


@hookimpl
def repcore_datasets() -> list[DatasetSpec]:
    return [
        DatasetSpec(
            name="smiles-table",
            summary="CSV, TSV, SMI or parquet (.gz) with a SMILES column; MoleculeNet layouts",
            target="repcore_molecules.datasets.tables:MoleculeTable",
            config="repcore_molecules.configs.data:MoleculeTableConfig",
            produces=(TensorSpec("smiles", "", "text"),),
            sniff="repcore_molecules.datasets.tables:sniff_table",
            render="repcore_molecules.rendering.molecules:draw_molecule",
            needs=("rdkit",),
            hints=HINTS,
        ),
        DatasetSpec(
            name="nci",
            summary="4,999 real molecules that ship inside RDKit, RDKit descriptors as labels",
            target="repcore_molecules.datasets.nci:NciMolecules",
            config="repcore_molecules.configs.data:NciConfig",
            produces=(TensorSpec("smiles", "", "text"),),
            targets=(
                TargetSpec("logp", "regression"),
                TargetSpec("tpsa", "regression", unit="A2"),
                TargetSpec("sp3_fraction", "regression"),
            ),
            render="repcore_molecules.rendering.molecules:draw_molecule",
            embedded=True,
            licence="NCI Open Database, public domain, as shipped by RDKit (BSD-3-Clause)",
            needs=("rdkit",),
            hints=HINTS,
        ),
    ]


@hookimpl
def repcore_preprocessors() -> list[PreprocessorSpec]:
    return [
        PreprocessorSpec(
            name="selfies",
            summary="Cleaning, SELFIES, tokenisation in four modes, padding",
            target="repcore_molecules.preprocessors.selfies:SelfiesPreprocessor",
            config="repcore_molecules.configs.data:SelfiesConfig",
            accepts=(TensorSpec("smiles", "", "text"),),
            produces=TOKENS,
            baselines={
                "symbol-counts": "repcore_molecules.preprocessors.baselines:symbol_counts",
                "ecfp4": "repcore_molecules.preprocessors.baselines:ecfp4",
            },
            splits={
                "scaffold": "repcore_molecules.preprocessors.splits:scaffold",
                "scaffold-seeded": "repcore_molecules.preprocessors.splits:balanced",
            },
        )
    ]


@hookimpl
def repcore_recipes() -> list[RecipeSpec]:
    return [
        RecipeSpec(
            name="selformer",
            summary="Masked-token pre-training of SELFormer",
            presets={
                "tiny": "repcore_molecules.recipes.selformer:tiny",
                "demo": "repcore_molecules.recipes.selformer:demo",
                "paper": "repcore_molecules.recipes.selformer:paper",
                "paper-lite": "repcore_molecules.recipes.selformer:paper_lite",
            },
            paper=PAPER,
        )
    ]


@hookimpl
def repcore_systems() -> list[SystemSpec]:
    return [
        SystemSpec(
            name="selformer",
            summary="SELFormer and SELFormer-Lite",
            paper=PAPER,
            licence="Apache-2.0 (this code)",
            notices="The authors' repository (HUBioDataLab/SELFormer), its weights and vocabulary files are GPL-3.0.",
            encoders=("selformer",),
            objectives=("masked-language",),
            recipes=("selformer",),
            checkpoints=("selformer",),
            replay="repcore_molecules.verification.selformer:replay",
            differences=(
                (
                    "tokenisation",
                    "three schemes and two vocabularies, mixed between scripts",
                    "one id a symbol; the schemes only for published weights",
                    "preprocessor.mode",
                ),
                (
                    "attention mask in pre-training",
                    "none: padding is attended to",
                    "padding is masked",
                    "objective.attention_mask=reference",
                ),
                (
                    "padding id",
                    "1 in the model, 3 in the tokenizer",
                    "3 in both for new models; 1 kept on import",
                    "encoder.position_padding_id",
                ),
                (
                    "molecules that SELFIES refuses",
                    "dropped silently, rows shift",
                    "canonicalised first; reported rows",
                    "preprocessor.smiles.canonicalise",
                ),
                ("missing labels", "count as negative or 0", "masked", ""),
                ("metrics", "AUC of hard labels, RMSE in units of each split", "probabilities, original units", ""),
            ),
        )
    ]


@hookimpl
def repcore_checkpoints() -> list[CheckpointSpec]:
    return [
        CheckpointSpec(
            name="selformer",
            summary="Published SELFormer folders, pre-trained and fine-tuned",
            target="repcore_molecules.checkpoints.selformer:convert",
            sniff="repcore_molecules.checkpoints.selformer:sniff",
            encoder="selformer",
            files=("config.json", "pytorch_model.bin or model.safetensors", "vocab.json", "merges.txt"),
            licence="GPL-3.0 (authors' repository)",
        )
    ]


@hookimpl
def repcore_commands() -> list[CommandSpec]:
    return [
        CommandSpec(
            name="tokenize",
            summary="Show canonical SMILES, SELFIES and token ids.",
            target="repcore_molecules.commands.tokenize:tokenize_command",
        ),
        CommandSpec(
            name="doctor",
            summary="Which vocabulary and tokenisation a checkpoint was trained with.",
            target="repcore_molecules.commands.doctor:doctor_command",
        ),
    ]
