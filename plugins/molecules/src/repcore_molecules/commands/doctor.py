"""``repcore molecules doctor``: which vocabulary, tokenisation and attention mask a checkpoint was trained with.

Two vocabularies and three ways to apply them are published, and scripts mix them; a wrong one raises no error, it only
ruins every embedding. Masked-token prediction tells (method card of SELFormer, section 8, item 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore import registry
from repcore.cli.console import ConsoleReporter, say, show_json, table
from repcore.cli.options import device_option, json_option
from repcore.devices import torch_device
from repcore.errors import CheckpointError, ConfigError, DataError

if TYPE_CHECKING:
    from repcore_molecules.commands.language_models import LanguageModel
    from repcore_molecules.commands.tokenisation_check import Feeding, Score
    from repcore_molecules.tokenisation.tokeniser import Tokeniser

PUBLISHED_MODES = ("fast", "slow", "bracket")
DEFAULT_DATA = "molecules/nci"
SAVED = "saved with the model"
CLEAR_NATS = 0.05  # less than that, two ways do not differ: 500 molecules hide about 3,000 tokens


@click.command("doctor")
@click.argument("checkpoint", metavar="CKPT|RUN", type=click.Path(path_type=Path))
@click.option("--data", default=DEFAULT_DATA, show_default=True, help="Molecules: path, or the name of a data set.")
@click.option("--vocabulary", "vocabularies", multiple=True, type=click.Path(path_type=Path),
              help="Folder with vocab.json and merges.txt to try (repeatable); the first is the one you mean to use "
              "if the checkpoint brings none.")  # fmt: skip
@click.option("--mode", type=click.Choice(PUBLISHED_MODES), help="The tokenisation you mean to use.  [default: fast]")
@click.option("--from-config", type=click.Path(path_type=Path), help="config.json of a published checkpoint.")
@click.option("--molecules", "count", default=500, show_default=True, help="Molecules to look at.")
@click.option("--seed", default=0, show_default=True, help="Seed of the masks.")
@device_option
@json_option
@click.pass_context
def doctor_command(
    ctx: click.Context,
    checkpoint: Path,
    data: str,
    vocabularies: tuple[Path, ...],
    mode: str | None,
    from_config: Path | None,
    count: int,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Mask 15 % of the tokens of some molecules and compare every vocabulary, mode and attention mask at hand.

    CKPT is a published checkpoint (file or folder) or a run folder. Exits with 1 if the one you would use is not best.

    \b
    Example:
      repcore molecules doctor SELFormer/ --vocabulary OtherTokenizer/
    """
    reporter = ConsoleReporter()
    from repcore_molecules.commands.language_models import read_language_model
    from repcore_molecules.commands.tokenisation_check import score_feedings

    model = read_language_model(checkpoint, from_config)
    feedings, left_out = _feedings(model, vocabularies, mode)
    for words in left_out:
        reporter.warn(words)
    scores = score_feedings(
        model,
        feedings,
        _some_selfies(data, count, reporter),
        seed=seed,
        device=torch_device(device),
        progress=lambda done, total: reporter.progress("predicting", done, total),
    )
    reporter.close()
    meant = feedings[0].vocabulary, feedings[0].tokeniser.mode
    verdicts, is_right = _verdicts(scores, meant)
    if as_json:
        show_json({"scores": [one.to_json() for one in scores], "used": meant, "ok": is_right, "verdict": verdicts})
    else:
        _show(scores, meant)
        for words in verdicts:
            say(words)
    if not is_right:
        ctx.exit(1)


def _feedings(model: LanguageModel, folders: Sequence[Path], mode: str | None) -> tuple[list[Feeding], list[str]]:
    """Every way at hand, the one that would be used first; and why a vocabulary was left out."""
    from repcore_molecules.commands.tokenisation_check import AttentionMask, Feeding
    from repcore_molecules.tokenisation.tokeniser import create_tokeniser
    from repcore_molecules.tokenisation.vocabulary import BpeVocabulary

    rows = model.state["encoder.embeddings.words.weight"].shape[0]
    tokenisers: list[tuple[str, Tokeniser]] = []
    left_out = []
    if model.tokeniser is not None:
        tokenisers.append((SAVED, model.tokeniser))
    own = [] if model.vocabulary is None else [model.vocabulary]
    modes = sorted(PUBLISHED_MODES, key=lambda one: one != (mode or "fast"))
    for folder in dict.fromkeys([*own, *folders]):
        vocabulary = BpeVocabulary.from_folder(folder)
        if len(vocabulary) > rows:
            left_out.append(f"{folder} has {len(vocabulary)} tokens, the model {rows} word vectors: it cannot be right")
            continue
        made = [(str(folder), create_tokeniser(one, vocabulary)) for one in modes]
        known = [one.to_json() for _, one in tokenisers]
        tokenisers += [(name, one) for name, one in made if one.to_json() not in known]
    if not tokenisers:
        raise CheckpointError(
            "no vocabulary to try: the checkpoint brings none that fits",
            left_out="; ".join(left_out),
            hint="--vocabulary DIR with vocab.json and merges.txt",
        )
    masks: tuple[AttentionMask, ...] = ("proper", "reference")
    return [Feeding(name, one, mask) for name, one in tokenisers for mask in masks], left_out


def _some_selfies(data: str, count: int, reporter: ConsoleReporter) -> list[str]:
    """SELFIES of usable molecules, evenly spaced over the data.

    Raises:
        DataError: none is usable.
    """
    from repcore.data.readers import open_data
    from repcore.errors import ItemError
    from repcore_molecules.configs.data import SelfiesConfig
    from repcore_molecules.preprocessors.selfies import SelfiesPreprocessor

    if count < 1:
        raise ConfigError(f"--molecules {count}: at least one is needed")
    part, reader = open_data(registry.default(), data, domain="molecules")
    converter = SelfiesPreprocessor(SelfiesConfig())
    found = []
    step = max(1, len(reader) // count)
    for row in range(0, len(reader), step):
        try:
            found.append(converter.selfies_of(reader[row]))
        except ItemError:
            continue
    if not found:
        raise DataError(f"none of the rows looked at in {data!r} holds a usable molecule")
    reporter.info(f"{min(len(found), count)} molecules of {part.name}")
    return found[:count]


def _show(scores: Sequence[Score], meant: tuple[str, str]) -> None:
    headers = ("vocabulary", "tokens", "mode", "attention mask", "loss", "accuracy", "frequencies", "gain", "unknown")
    rows: list[tuple[Any, ...]] = []
    for one in scores:
        mark = " (yours)" if (one.vocabulary, one.mode) == meant else ""
        figures = (f"{one.loss:.3f}", f"{one.accuracy:.3f}", f"{one.frequencies:.3f}", f"{one.gain:+.3f}")
        rows.append((one.vocabulary + mark, one.tokens, one.mode, one.attention_mask, *figures, f"{one.unknown:.1%}"))
    table(headers, rows)


def _verdicts(scores: Sequence[Score], meant: tuple[str, str]) -> tuple[list[str], bool]:
    """Sentences about the best way, and whether the one that would be used is as good."""
    best = scores[0]
    mine = next(one for one in scores if (one.vocabulary, one.mode) == meant)
    way = f"vocabulary {best.vocabulary}, mode {best.mode}, {best.attention_mask} attention mask"
    said = [f"best: {way} ({best.gain:+.2f} nats a token against token frequencies)"]
    if best.gain <= 0:
        said.append(
            "warning: no way at hand beats token frequencies: another vocabulary is needed, or the model is hardly "
            "trained"
        )
        return said, False
    if best.gain - mine.gain > CLEAR_NATS:
        said.append(
            f"warning: vocabulary {meant[0]} with mode {meant[1]} is worse ({mine.gain:+.2f}); import the checkpoint "
            f"with --vocabulary {best.vocabulary} --option mode={best.mode}"
        )
        return said, False
    if mine is not best:
        said.append(f"vocabulary {meant[0]} with mode {meant[1]} is as good within {CLEAR_NATS} nats")
    other = [one.gain for one in scores if (one.vocabulary, one.mode, one.attention_mask) == (*meant, "proper")]
    if mine.attention_mask == "reference" and mine.gain - other[0] > CLEAR_NATS:
        said.append(
            "it was trained while attending to padding; embeddings mask padding all the same, as one unpadded molecule "
            "at a time does"
        )
    return said, True
