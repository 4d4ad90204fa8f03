"""``repcore molecules tokenize``: what becomes of a SMILES on its way to token ids."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore.cli.console import complain, show_json, table
from repcore.cli.options import json_option
from repcore.errors import ConfigError, DataError

if TYPE_CHECKING:
    from repcore_molecules.preprocessors.selfies import SelfiesPreprocessor

MODES = ("symbol", "fast", "slow", "bracket")
COLUMNS = ("id", "smiles", "status", "reason", "canonical", "selfies", "tokens", "ids")


@click.command("tokenize")
@click.argument("inputs", nargs=-1, metavar="[FILE|SMILES]...")
@click.option("--model", type=click.Path(path_type=Path), help="Model or run folder whose preprocessing is used.")
@click.option("--vocabulary", type=click.Path(path_type=Path), help="Folder with vocab.json and merges.txt.")
@click.option("--mode", type=click.Choice(MODES), help="Tokenisation; fast with a vocabulary folder, else symbol.")
@click.option("--column", help="SMILES column of a file.")
@json_option
def tokenize_command(
    inputs: tuple[str, ...],
    model: Path | None,
    vocabulary: Path | None,
    mode: str | None,
    column: str | None,
    as_json: bool,
) -> None:
    """Status, canonical SMILES, SELFIES, tokens and ids of molecules from files, arguments or standard input.

    Without --model and --vocabulary, tokens are SELFIES symbols and have no ids.

    \b
    Example:
      repcore molecules tokenize 'CC(=O)Oc1ccccc1C(=O)O' --vocabulary SELFormer/
      repcore molecules tokenize molecules.csv --model runs/latest/model
    """
    show = TokenView(_preprocessor(model, vocabulary, mode))
    rows = [show.row(name, cell) for name, cell in _molecules(inputs, column)]
    if as_json:
        show_json(rows)
        return
    shown = [name for name in COLUMNS if any(row[name] not in ("", None, []) for row in rows)]
    table(shown, [[_words(row[name]) for name in shown] for row in rows])
    if not show.has_ids:
        complain("symbols without ids: those need --model or --vocabulary")


@dataclass(frozen=True, slots=True)
class TokenView:
    """Shows molecules as one preprocessor sees them; without a vocabulary, symbols alone."""

    preprocessor: SelfiesPreprocessor

    @property
    def has_ids(self) -> bool:
        return self.preprocessor.is_fitted

    def row(self, name: str, cell: Any) -> dict[str, Any]:  # a cell of any table
        """Everything about one molecule, by the names of ``COLUMNS``."""
        from repcore.interfaces import Sample
        from repcore_molecules.tokenisation.symbols import split_symbols

        result = self.preprocessor.converted(cell)
        tokens: Sequence[str] = ()
        ids: list[int] = []
        status, reason = str(result.status), result.reason
        if status == "ok" and self.has_ids:
            (item,) = self.preprocessor.prepare(Sample(name, cell))
            status, reason, ids = item.status, item.reason, [int(one) for one in item.values]
            tokens = self.preprocessor.tokeniser.tokens(ids)
        elif status == "ok":
            tokens = split_symbols(result.selfies)
        values = (name, cell, status, reason, result.canonical, result.selfies, list(tokens), ids)
        return dict(zip(COLUMNS, values, strict=True))


def _preprocessor(model: Path | None, vocabulary: Path | None, mode: str | None) -> SelfiesPreprocessor:
    from repcore_molecules.configs.data import SelfiesConfig
    from repcore_molecules.preprocessors.selfies import SelfiesPreprocessor

    if model is None:
        if vocabulary is not None and mode == "symbol":
            raise ConfigError("--mode symbol does not use published vocabulary files", hint="--mode fast")
        chosen: Any = mode or ("symbol" if vocabulary is None else "fast")
        if chosen != "symbol" and vocabulary is None:
            raise ConfigError(f"--mode {chosen} needs --vocabulary DIR with vocab.json and merges.txt")
        config = SelfiesConfig(mode=chosen, vocabulary=None if vocabulary is None else str(vocabulary))
        return SelfiesPreprocessor(replace(config, max_length=sys.maxsize))
    if vocabulary is not None or mode is not None:
        raise ConfigError("--model brings its own vocabulary and mode", hint="leave out --vocabulary and --mode")
    from repcore.checkpoints.model_folder import read_model
    from repcore.checkpoints.places import model_path

    built = read_model(model_path(model)).build_preprocessor()
    if not isinstance(built, SelfiesPreprocessor):
        raise ConfigError(
            f"{model} is a model whose preprocessor, {type(built).__name__}, makes no SELFIES",
            expected="a model with tokens, such as of molecules/selformer",
        )
    return built


def _molecules(inputs: Sequence[str], column: str | None) -> Iterator[tuple[str, Any]]:
    """Name and cell of every molecule: rows of a file, arguments as they are, lines of standard input."""
    if not inputs:
        if sys.stdin.isatty():
            raise DataError("no molecules were given", hint="a file, SMILES as arguments, or lines on standard input")
        inputs = ("-",)
    for number, word in enumerate(inputs):
        if word == "-":
            yield from ((str(row), line.rstrip("\r\n")) for row, line in enumerate(sys.stdin))
        elif _names_a_table(word):
            yield from _rows_of(word, column)
        else:
            yield str(number), word


def _names_a_table(word: str) -> bool:
    """Whether an argument is a path: it exists, or ends like a table (opening it then says that it does not exist)."""
    from repcore.data.tables import table_suffix

    try:
        return bool(word.strip()) and (Path(word).exists() or bool(table_suffix(Path(word))))
    except (OSError, ValueError):  # longer than any path, or with a zero byte
        return False


def _rows_of(path: str, column: str | None) -> Iterator[tuple[str, Any]]:
    from repcore_molecules.configs.data import MoleculeTableConfig
    from repcore_molecules.datasets.tables import MoleculeTable

    reader = MoleculeTable(MoleculeTableConfig(path=path, column=column, labels=()))
    yield from ((reader.id_of(row), cell) for row, cell in enumerate(reader.cells(0, len(reader))))


def _words(value: Any) -> str:  # one value of a row
    return " ".join(map(str, value)) if isinstance(value, list) else str(value if value is not None else "")
