"""SELFormer: encoder, objective, recipe, checkpoints, commands."""

from __future__ import annotations

from repcore.specs import (
    CheckpointSpec,
    CommandSpec,
    EncoderSpec,
    ObjectiveSpec,
    RecipeSpec,
    SystemSpec,
    TensorSpec,
)
from repcore_molecules.registration.molecules import HINTS, TOKENS

PAPER = "Yüksel et al. 2023, Mach. Learn.: Sci. Technol. 4 025035 (arXiv 2304.04662)"

ENCODERS = (
    EncoderSpec(
        name="selformer",
        summary="RoBERTa over SELFIES tokens",
        target="repcore_molecules.encoders.selformer:Selformer",
        config="repcore_molecules.configs.selformer:SelformerConfig",
        inputs=TOKENS,
        outputs=(TensorSpec("pooled", "B P"), TensorSpec("tokens", "B T D")),
        poolings=("mean", "mean-symbols", "bos", "max", "mean-layers", "mean-sum-layers"),
        levels=("tokens",),
        capabilities=(
            "token-ids",
            "layers",
            "embed-tokens",
            "encode-tokens",
            "run-from",
            "until",
            "feed-forward-blocks",
        ),
        paper=PAPER,
        licence="Apache-2.0 (this code); published weights come from a GPL-3.0 repository",
        needs=("selfies", "rdkit"),
        hints=HINTS,
        example="repcore_molecules.encoders.selformer:tiny_example",
    ),
)

OBJECTIVES = (
    ObjectiveSpec(
        name="masked-language",
        summary="Predict hidden tokens (80/10/10 rule), head only where something is hidden",
        target="repcore_molecules.objectives.masked_language:MaskedLanguage",
        config="repcore_molecules.configs.selformer:MaskedLanguageConfig",
        needs=("token-ids",),
        decay_rule="repcore_molecules.objectives.masked_language:has_weight_decay",
        paper=PAPER,
        licence="Apache-2.0",
    ),
)

RECIPES = (
    RecipeSpec(
        name="selformer",
        summary="Masked-token pre-training of SELFormer",
        presets={
            "tiny": "repcore_molecules.recipes.selformer:tiny",
            "small": "repcore_molecules.recipes.selformer:small",
            "demo": "repcore_molecules.recipes.selformer:demo",
            "paper": "repcore_molecules.recipes.selformer:paper",
            "paper-lite": "repcore_molecules.recipes.selformer:paper_lite",
        },
        paper=PAPER,
    ),
)

CHECKPOINTS = (
    CheckpointSpec(
        name="selformer",
        summary="Published SELFormer folders, pre-trained and fine-tuned",
        target="repcore_molecules.checkpoints.selformer:convert",
        sniff="repcore_molecules.checkpoints.selformer:sniff",
        encoder="selformer",
        options={
            "from_config": (),
            "vocabulary": (),
            "mode": ("fast", "slow", "bracket"),
            "canonicalise": ("true", "false", "yes", "no", "on", "off", "1", "0"),
            "kind": ("class", "labels", "values"),
            "mean": (),
            "deviation": (),
        },
        files=("config.json", "pytorch_model.bin or model.safetensors", "vocab.json", "merges.txt"),
        licence="GPL-3.0 (authors' repository)",
    ),
)

COMMANDS = (
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
)

SYSTEMS = (
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
    ),
)
