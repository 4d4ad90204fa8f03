"""Published SELFormer weights: RobertaForMaskedLM and RobertaForSequenceClassification layouts.

Sizes come from the checkpoint's ``config.json`` (4 and 12 heads have the same tensors, so shapes cannot tell), the
vocabulary from ``vocab.json`` and ``merges.txt`` (or the ``tokenizer.json`` that holds both) beside the weights or from
``--vocabulary DIR``: two vocabularies are published whose ids differ, so none is ever assumed. The body alone, and the
same names behind a training framework's prefix, are read too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from repcore.checkpoints.imported import Imported, ImportedTask
from repcore.checkpoints.keymap import Drop, KeyMap, LoadReport, Rename, Stack, Tied
from repcore.errors import CheckpointError, closest
from repcore.evaluation.tasks.configs import ClassificationConfig, MultilabelConfig, RegressionConfig, TaskConfig
from repcore.files import read_json_file
from repcore.specs import TargetKind, TargetSpec
from repcore_molecules.configs.data import SelfiesConfig
from repcore_molecules.configs.selformer import SelformerConfig
from repcore_molecules.configs.smiles import SmilesConfig
from repcore_molecules.encoders.selformer import Selformer, longest_sequence
from repcore_molecules.objectives.masked_language import LanguageHead
from repcore_molecules.preprocessors.selfies import SelfiesPreprocessor
from repcore_molecules.tokenisation.vocabulary import BEGIN_ID, END_ID, TOKENIZER_FILE, BpeVocabulary

_LAYER = "roberta.encoder.layer.{i}."
_SELF = _LAYER + "attention.self."

KEY_MAP = KeyMap((
    Drop("roberta.embeddings.position_ids", "counts from 0; computed anew"),
    Drop("roberta.pooler.dense.{part}", "random, and used by no head"),
    Tied("lm_head.decoder.weight", of="roberta.embeddings.word_embeddings.weight"),
    Tied("lm_head.decoder.bias", of="lm_head.bias"),
    Rename("roberta.embeddings.word_embeddings.weight", "encoder.embeddings.words.weight"),
    Rename("roberta.embeddings.position_embeddings.weight", "encoder.embeddings.positions.weight"),
    Rename("roberta.embeddings.token_type_embeddings.weight", "encoder.embeddings.token_type"),
    Rename("roberta.embeddings.LayerNorm.{part}", "encoder.embeddings.norm.{part}"),
    Stack(
        (_SELF + "query.{part}", _SELF + "key.{part}", _SELF + "value.{part}"),
        "encoder.layers.{i}.attention.qkv.{part}",
    ),
    Rename(_LAYER + "attention.output.dense.{part}", "encoder.layers.{i}.attention.output.{part}"),
    Rename(_LAYER + "attention.output.LayerNorm.{part}", "encoder.layers.{i}.attention_norm.{part}"),
    Rename(_LAYER + "intermediate.dense.{part}", "encoder.layers.{i}.feed_forward.expand.{part}"),
    Rename(_LAYER + "output.dense.{part}", "encoder.layers.{i}.feed_forward.contract.{part}"),
    Rename(_LAYER + "output.LayerNorm.{part}", "encoder.layers.{i}.feed_forward_norm.{part}"),
    Rename("lm_head.dense.{part}", "head.dense.{part}"),
    Rename("lm_head.layer_norm.{part}", "head.norm.{part}"),
    Rename("lm_head.bias", "head.bias"),
    Rename("classifier.dense.{part}", "classifier.dense.{part}"),
    Rename("classifier.out_proj.{part}", "classifier.out_proj.{part}"),
))  # fmt: skip
"""Published names to those of the masked-language objective (``encoder.*``, ``head.*``) and of a fine-tuning task with
the first-token head (``encoder.*``, ``classifier.*``)."""

_CONFIG_FIELDS = {
    "vocab_size": "vocabulary_size",
    "hidden_size": "hidden_width",
    "num_hidden_layers": "layers",
    "num_attention_heads": "attention_heads",
    "intermediate_size": "feed_forward_width",
    "max_position_embeddings": "max_positions",
    "hidden_dropout_prob": "hidden_dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "layer_norm_eps": "norm_epsilon",
    "initializer_range": "initial_deviation",
}
_OPTIONS = ("from_config", "vocabulary", "mode", "canonicalise", "kind", "mean", "deviation")
KINDS: Mapping[str, tuple[TargetKind, str, type[TaskConfig]]] = {
    "class": ("class", "classification", ClassificationConfig),
    "labels": ("multilabel", "multilabel", MultilabelConfig),
    "values": ("regression", "regression", RegressionConfig),
}
"""Word of the option ``kind`` -> kind of target, core's task and its settings."""
_PROBLEMS = {
    "single_label_classification": "class", "multi_label_classification": "labels", "regression": "values",
}  # fmt: skip
_SWITCH = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}
_ONLY_VALUES: Mapping[str, object] = {
    "model_type": "roberta", "hidden_act": "gelu", "position_embedding_type": "absolute", "type_vocab_size": 1,
}  # fmt: skip


_WORDS = "embeddings.word_embeddings.weight"
_WRAPPERS = (
    "",
    "model.",
    "net.",
    "encoder.",
    "backbone.",
    "module.",
    "model.model.",
)  # Lightning and home-made modules
_HEADS = ("lm_head.", "classifier.")
_BODY_PARTS = ("embeddings.", "encoder.", "pooler.")


def published_names(keys: Iterable[str]) -> dict[str, str]:
    """Stored key -> the name that ``RobertaFor...`` gives it, for the layouts in which the same tensors are shared.

    A body alone (``RobertaModel``) has no ``roberta.`` before its names, and a training framework puts the name of its
    own attribute before all of them (Lightning's ``model.``). Keys of neither stay as they are.
    """
    known = tuple(keys)
    for wrapper in _WRAPPERS:
        if wrapper + "roberta." + _WORDS in known:
            return {key: key.removeprefix(wrapper) for key in known}
        if wrapper + _WORDS in known:
            return {key: _with_body(key.removeprefix(wrapper)) for key in known}
    return {key: key for key in known}


def _with_body(key: str) -> str:
    return "roberta." + key if key.startswith(_BODY_PARTS) else key


def sniff(keys: frozenset[str]) -> float:
    """How surely these key names are a SELFormer checkpoint: 1 for RoBERTa with a language or classification head."""
    keys = frozenset(published_names(keys).values())
    has_body = "roberta.embeddings.word_embeddings.weight" in keys and any(
        key.startswith("roberta.encoder.layer.0.attention.self.query") for key in keys
    )
    if not has_body:
        return 0.0
    return 1.0 if any(key.startswith(_HEADS) for key in keys) else 0.5


def config_from_json(values: Mapping[str, Any], source: str) -> SelformerConfig:
    """Settings from a Hugging Face ``config.json``.

    Args:
        values: its content.
        source: for messages.

    Raises:
        CheckpointError: a size is missing, or the model is no plain RoBERTa.
    """
    missing = [key for key in (*_CONFIG_FIELDS, "pad_token_id") if key not in values and key != "initializer_range"]
    if missing:
        raise CheckpointError(
            f"{source} lacks {', '.join(missing)}", meaning="tensors do not tell these (4 and 12 heads look the same)"
        )
    wrong = [f"{key}={values[key]!r}" for key, only in _ONLY_VALUES.items() if values.get(key, only) != only]
    if wrong:
        raise CheckpointError(f"{source} is not the RoBERTa of SELFormer", got=", ".join(wrong))
    padding_id = int(values["pad_token_id"])
    fields = {ours: values[theirs] for theirs, ours in _CONFIG_FIELDS.items() if theirs in values}
    # Both tables follow the config's padding id, although the tokenizer pads with another: repairing it would shift
    # every position.
    return SelformerConfig(
        **fields,
        position_padding_id=padding_id,
        embedding_padding_id=padding_id,
        begin_token_id=BEGIN_ID,
        end_token_id=END_ID,
    )


def import_state(
    state: Mapping[str, Tensor], config: SelformerConfig, source: str
) -> tuple[dict[str, Tensor], LoadReport]:
    """Published tensors under the names of :data:`KEY_MAP`, checked against the module of these settings.

    Raises:
        CheckpointError: a key or shape has no place, or tied tensors differ.
    """
    with torch.device("meta"):
        encoder = Selformer(config)
        head = LanguageHead(config.hidden_width, encoder.word_embeddings.shape[0], config.norm_epsilon)
    expected = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    if any(key.startswith("lm_head.") for key in state):
        expected |= {f"head.{name}": value for name, value in head.state_dict().items()}
    # The width of a classification head is the task's: only its presence can be expected.
    expected |= {name: value for name, value in state.items() if name.startswith("classifier.")}
    ours, report = KEY_MAP.apply(state, source=source, target="molecules/selformer", expected=expected)
    row = state["roberta.embeddings.position_embeddings.weight"][config.position_padding_id]
    is_zero = not bool(row.any())
    report.notes.append(
        f"position row {config.position_padding_id} is "
        + ("all zeros, as in every trained model" if is_zero else "not zero: these weights were not trained this way")
    )
    return ours, report


def convert(state: Mapping[str, Tensor], source: Path, options: Mapping[str, str]) -> Imported:
    """A published checkpoint as a model of this plugin.

    Args:
        state: tensors by published name.
        source: weights file or its folder.
        options: ``from_config`` (a config.json elsewhere), ``vocabulary`` (folder with vocab.json and merges.txt) and
            ``mode`` of tokenisation (``fast`` when left out), ``canonicalise`` (``false``: SMILES are encoded as the
            table writes them, as the authors' scripts do; ``true`` when left out). Of a fine-tuned file also ``kind``
            (class, labels, values) where it is not the authors' (see :func:`fine_tuned_task`), and ``mean`` and
            ``deviation`` of the labels that a regression was trained on, which no file holds.

    Raises:
        CheckpointError: settings or vocabulary are missing or do not fit the tensors.
    """
    _check_options(options)
    folder = source if source.is_dir() else source.parent
    names = published_names(state)
    state = {names[key]: value for key, value in state.items()}
    config_path = Path(options["from_config"]) if options.get("from_config") else folder / "config.json"
    written = _read_config(config_path)
    config = config_from_json(written, str(config_path))
    vocabulary_folder = Path(options.get("vocabulary") or folder)
    vocabulary = _read_vocabulary(vocabulary_folder)
    rows = state.get("roberta.embeddings.word_embeddings.weight", torch.empty(0)).shape[0]
    if len(vocabulary) > rows:
        raise CheckpointError(
            f"the vocabulary has {len(vocabulary)} tokens, but {source} has {rows} word vectors",
            hint="name the folder with this checkpoint's own tokenizer files: --vocabulary DIR",
        )
    ours, report = import_state(state, config, str(source))
    report.notes += _renamings(names)
    report.notes.append(
        f"vocabulary of {len(vocabulary)} tokens and {len(vocabulary.merges)} merges; {rows} rows in the word table"
    )
    preprocessing = SelfiesConfig(
        mode=_mode(options),
        vocabulary=str(vocabulary_folder),
        max_length=min(512, longest_sequence(config)),
        smiles=SmilesConfig(canonicalise=_canonicalise(options)),
    )
    head = {name: value for name, value in ours.items() if name.startswith("classifier.")}
    task = fine_tuned_task(head, written, options, report) if head else None
    return Imported(
        encoder_config=config,
        state=_part(ours, "encoder."),
        report=report,
        preprocessor=SelfiesPreprocessor(preprocessing),
        preprocessor_name="molecules/selfies",
        preprocessor_config=replace(preprocessing, vocabulary=None),  # it travels with the model, not as a path
        heads={
            name: part
            for name, part in (("objective", _part(ours, "head.")), ("task", _part(ours, "classifier.")))
            if part
        },
        task=task,
        notices="Weights and vocabulary of HUBioDataLab/SELFormer (GPL-3.0), Yuksel et al. 2023, arXiv 2304.04662.",
    )


def fine_tuned_task(
    head: Mapping[str, Tensor], written: Mapping[str, Any], options: Mapping[str, str], report: LoadReport
) -> ImportedTask:
    """The published head (first token) as core's task.

    What it predicts is said by the option ``kind``, else by ``problem_type`` of config.json, else by the number of
    outputs as the authors' three scripts have it: one is a value, two are classes, more are yes/no labels. Names come
    from ``id2label`` if they are more than its placeholders.

    Args:
        written: content of config.json.

    Raises:
        CheckpointError: the head is incomplete, the kind does not fit, or ``mean`` / ``deviation`` are no numbers.
    """
    weight = head.get("classifier.out_proj.weight")
    if weight is None:
        raise CheckpointError("the fine-tuned head lacks classifier.out_proj.weight", have=", ".join(head))
    outputs = len(weight)
    kind = options.get("kind") or _PROBLEMS.get(str(written.get("problem_type")))
    if kind is None:
        kind = "values" if outputs == 1 else "class" if outputs == 2 else "labels"
        report.notes.append(
            f"{outputs} outputs: {kind}, as in the authors' scripts (option kind=class, labels, values)"
        )
    if kind not in KINDS or (kind == "class" and outputs < 2):
        raise CheckpointError(f"kind={kind} does not fit a head of {outputs} outputs", expected=", ".join(KINDS))
    target_kind, name, config = KINDS[kind]
    state = dict(head)
    if kind == "values":
        state |= _label_scale(options, outputs, report)
    names = _class_names(written, outputs) if kind != "values" else ()
    target = TargetSpec({"class": "class", "labels": "labels", "values": "value"}[kind], target_kind, names=names)
    settings = config(head="first-token", outputs=outputs)
    return ImportedTask(name=name, config=settings, target=target, outputs=outputs, state=state)


def _label_scale(options: Mapping[str, str], outputs: int, report: LoadReport) -> dict[str, Tensor]:
    """Mean and standard deviation of the labels, one for all outputs."""
    scale: dict[str, Tensor] = {}
    for option, buffer, default in (("mean", "mean", 0.0), ("deviation", "scale", 1.0)):
        try:
            value = float(options.get(option, default))
        except ValueError:
            raise CheckpointError(f"{option}={options[option]!r} is not a number") from None
        scale[buffer] = torch.full((outputs,), value)
    if not bool((scale["scale"] > 0).all() and torch.isfinite(torch.stack(list(scale.values()))).all()):
        raise CheckpointError("mean and standard deviation of the labels must be finite, the latter above 0")
    if "deviation" not in options:
        report.notes.append(
            "values stay as the head gives them: standardised ones need --option mean=... deviation=... of the labels"
        )
    return scale


def _class_names(written: Mapping[str, Any], outputs: int) -> tuple[str, ...]:
    """Names from ``id2label``; none where they are placeholders or not one an output."""
    given = written.get("id2label")
    names = [str(given.get(str(k), "")) for k in range(outputs)] if isinstance(given, Mapping) else []
    placeholders = not names or all(name in ("", f"LABEL_{k}") for k, name in enumerate(names))
    return () if placeholders or not all(names) or len(set(names)) < outputs else tuple(names)


def _check_options(options: Mapping[str, str]) -> None:
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        raise CheckpointError(
            f"option {unknown[0]}={options[unknown[0]]} does not exist",
            did_you_mean=closest(unknown[0], _OPTIONS),
            options=", ".join(_OPTIONS),
        )


def _canonicalise(options: Mapping[str, str]) -> bool:
    word = str(options.get("canonicalise") or "true").lower()
    if word not in _SWITCH:
        raise CheckpointError(f"canonicalise={options['canonicalise']} is neither on nor off", expected="true or false")
    return _SWITCH[word]


def _renamings(names: Mapping[str, str]) -> list[str]:
    """A note where the file's names are not those of ``RobertaFor...``."""
    changed = [(old, new) for old, new in names.items() if old != new]
    if not changed:
        return []
    old, new = changed[0]
    return [f"{len(changed)} of {len(names)} names were completed or shortened first, such as {old} -> {new}"]


def _mode(options: Mapping[str, str]) -> Literal["fast", "slow", "bracket"]:
    modes: tuple[Literal["fast", "slow", "bracket"], ...] = ("fast", "slow", "bracket")
    for mode in modes:
        if mode == (options.get("mode") or "fast"):
            return mode
    raise CheckpointError(
        f"mode={options['mode']} is not a tokenisation of published weights", expected=", ".join(modes)
    )


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        content = read_json_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"there is no {path}",
            meaning="the number of attention heads cannot be read from tensors and is never guessed",
            hint="--from-config FILE with the checkpoint's config.json",
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON", reason=error) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, no JSON object")
    return content


def _read_vocabulary(folder: Path) -> BpeVocabulary:
    absent = [name for name in ("vocab.json", "merges.txt") if not (folder / name).is_file()]
    if absent and not (folder / TOKENIZER_FILE).is_file():
        raise CheckpointError(
            f"{folder} has no {' and no '.join(absent)}",
            meaning="two published vocabularies give the same text different ids, so none is assumed",
            hint="--vocabulary DIR with this checkpoint's own tokenizer files",
        )
    return BpeVocabulary.from_folder(folder)
