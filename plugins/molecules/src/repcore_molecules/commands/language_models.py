"""An encoder with its language head from wherever there is one: a published checkpoint or a run of this project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repcore import registry
from repcore.checkpoints.reading import read_checkpoint
from repcore.config.resolve import resolve_plain
from repcore.errors import CheckpointError
from repcore.files import read_json_file, read_object
from repcore_molecules.checkpoints.selformer import config_from_json, import_state
from repcore_molecules.configs.selformer import SelformerConfig
from repcore_molecules.preprocessors.selfies import SelfiesPreprocessor
from repcore_molecules.tokenisation.tokeniser import Tokeniser

VOCABULARY_FILES = ("vocab.json", "merges.txt")


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """What a check of tokenisations needs.

    Attributes:
        config: of the encoder.
        state: of the masked-language objective: ``encoder.*`` and ``head.*``.
        tokeniser: the one that was saved with the weights; None for a published checkpoint.
        vocabulary: folder with the checkpoint's own vocabulary files; None if there is none.
    """

    config: SelformerConfig
    state: Mapping[str, Tensor]
    tokeniser: Tokeniser | None = None
    vocabulary: Path | None = None


def read_language_model(path: Path, from_config: Path | None = None) -> LanguageModel:
    """A run folder (or the model folder inside one), or a published checkpoint file or folder.

    Args:
        path: where to look.
        from_config: ``config.json`` of a published checkpoint, if it does not lie beside the weights.

    Raises:
        CheckpointError: nothing there, no language head, or weights that do not fit.
    """
    if not path.exists():
        raise CheckpointError(f"there is no checkpoint or run at {path}")
    for folder in (path, path.parent):
        if (folder / "checkpoints" / "last.ckpt").is_file() and (folder / "config.json").is_file():
            return _from_run(folder)
    if (path / "preprocessing.json").is_file():
        raise CheckpointError(
            f"{path} is a model folder: it holds the encoder without the language head",
            hint="give the run folder that made it, or the published checkpoint it was imported from",
        )
    return _from_published(path, from_config)


def _from_run(folder: Path) -> LanguageModel:
    plain = read_object(folder / "config.json")
    resolved = resolve_plain(registry.default(), plain, f"run {folder.name}")
    if not isinstance(resolved.encoder.config, SelformerConfig):
        raise CheckpointError(f"{folder} is a run of {resolved.encoder.name}, not of molecules/selformer")
    preprocessor = SelfiesPreprocessor.load(resolved.preprocessor.config, folder / "preprocessing")
    config: Any = resolved.with_facts(preprocessor.facts()).encoder.config
    saved = torch.load(folder / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    state = {name.removeprefix("objective."): value for name, value in saved.items() if name.startswith("objective.")}
    return LanguageModel(config, _with_head(state, folder), tokeniser=preprocessor.tokeniser)


def _from_published(path: Path, from_config: Path | None) -> LanguageModel:
    folder = path if path.is_dir() else path.parent
    source = from_config or folder / "config.json"
    try:
        settings = read_json_file(source)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no {source}", hint="--from-config FILE with the checkpoint's sizes") from error
    except ValueError as error:
        raise CheckpointError(f"{source} is not JSON", reason=error) from error
    config = config_from_json(settings, str(source))
    state, _ = import_state(read_checkpoint(path).state, config, str(path))
    own = folder if all((folder / name).is_file() for name in VOCABULARY_FILES) else None
    return LanguageModel(config, _with_head(state, path), vocabulary=own)


def _with_head(state: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """The tensors of the objective alone.

    Raises:
        CheckpointError: a fine-tuned model, which has no language head any more.
    """
    kept = {name: value for name, value in state.items() if name.startswith(("encoder.", "head."))}
    if not any(name.startswith("head.") for name in kept):
        raise CheckpointError(
            f"{source} has no language head", meaning="only a pre-trained model can say which tokens it knows"
        )
    return kept
