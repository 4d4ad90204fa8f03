"""SELFormer and SELFormer-Lite: a preset for a laptop and the published ones."""

from __future__ import annotations

from dataclasses import replace

from repcore.config import DataConfig, OptimiserConfig, Part, RunConfig, ScheduleConfig, TrainerConfig
from repcore_molecules.configs.data import NciConfig, SelfiesConfig
from repcore_molecules.configs.selformer import SELFORMER, SELFORMER_LITE, MaskedLanguageConfig, SelformerConfig

# Positions of a new model begin after the tokeniser's padding id 3: 512 tokens need 516 rows, the preprocessor's
# max_length of 512 then always fits.
NEW_POSITIONS = 516


def tiny() -> RunConfig:
    """Four layers of width 128 on one id a symbol: minutes on two CPU cores."""
    return RunConfig(
        encoder=Part(
            "molecules/selformer",
            SelformerConfig(
                hidden_width=128,
                layers=4,
                attention_heads=4,
                feed_forward_width=512,
                max_positions=NEW_POSITIONS,
                hidden_dropout=0.0,
                attention_dropout=0.0,
                pooling="mean-layers",
            ),
        ),
        objective=Part("molecules/masked-language", MaskedLanguageConfig()),
        dataset=Part("molecules/nci", NciConfig()),
        preprocessor=Part("molecules/selfies", SelfiesConfig()),
        data=DataConfig(batch_size=64, validation_share=0.05, validation_limit=1000),
        optimiser=OptimiserConfig(lr=2e-3, weight_decay=0.01),
        schedule=ScheduleConfig(name="linear", warmup_steps=100),
        trainer=TrainerConfig(steps=480),
    )


def demo() -> RunConfig:
    """:func:`tiny`, shorter: the whole demonstration stays under five minutes on two cores."""
    return replace(tiny(), trainer=TrainerConfig(steps=300))


def small() -> RunConfig:
    """:func:`tiny`, whose vector predicts RDKit's descriptors of each molecule instead of hidden tokens.

    The vector holds sums beside means, since means forget how large a molecule is. In runs of equal time, masked
    language beside the descriptors cost more (FreeSolv, BBBP) than it brought (ESOL), on folds of training parts.
    """
    run = tiny()
    encoder = replace(run.encoder.config, pooling="mean-sum-layers")
    targets = {"targets": ["descriptors"]}
    return replace(
        run,
        encoder=Part("molecules/selformer", encoder),
        objective=Part("generic/computed-targets", targets),
        optimiser=OptimiserConfig(lr=1e-3, weight_decay=0.01),
        trainer=TrainerConfig(steps=4000, validate_every=1000),
    )


def paper() -> RunConfig:
    """The published size and optimisation, with one id a symbol and a proper attention mask.

    Source: method card, section 4 (stored trainer arguments): AdamW 5e-5, decay 0.01, linear to 0 without warm-up,
    batch 16, 100 epochs, 20 % held out. The published run cut molecules at 128 tokens.
    """
    return RunConfig(
        encoder=Part("molecules/selformer", _new(SELFORMER)),
        objective=Part("molecules/masked-language", MaskedLanguageConfig()),
        dataset=Part("molecules/nci", NciConfig()),
        preprocessor=Part("molecules/selfies", SelfiesConfig(max_length=128)),
        data=DataConfig(batch_size=16, validation_share=0.2),
        optimiser=OptimiserConfig(lr=5e-5, weight_decay=0.01),
        schedule=ScheduleConfig(name="linear"),
        trainer=TrainerConfig(epochs=100),
    )


def paper_lite() -> RunConfig:
    """SELFormer-Lite: 8 layers with 12 heads, otherwise as :func:`paper`."""
    return replace(paper(), encoder=Part("molecules/selformer", _new(SELFORMER_LITE)))


def _new(published: SelformerConfig) -> SelformerConfig:
    """A published shape with this project's own ids: the tokeniser's padding id in every table."""
    return replace(
        published, vocabulary_size=None, position_padding_id=3, embedding_padding_id=3, max_positions=NEW_POSITIONS
    )
