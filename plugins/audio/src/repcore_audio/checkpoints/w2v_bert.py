"""The released encoder ``facebook/w2v-bert-2.0``: a folder with its weights and ``config.json``.

Source: layout of `transformers`, wav2vec2_bert; method card of W2v-BERT. Numbers of heads and of positions are read
from ``config.json``: shapes cannot tell them. Quantiser and heads were not released.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from repcore.checkpoints.imported import Imported
from repcore.checkpoints.keymap import Drop, KeyMap, Rename
from repcore.errors import CheckpointError
from repcore.files import read_json_file
from repcore_audio.configs.spectrogram import RELEASED_FILTER_BANK
from repcore_audio.configs.w2v_bert import W2vBertConfig
from repcore_audio.encoders.w2v_bert import NAME, W2vBert
from repcore_audio.preprocessors.spectrogram import LogMelPreprocessor

PREFIX = "wav2vec2_bert."
KEYS = KeyMap(
    (
        Drop("masked_spec_embed", "vector for masking while fine-tuning; hidden frames get noise here"),
        Rename("feature_projection.{rest*}", "encoder.front_end.{rest*}"),
        Rename("encoder.layers.{rest*}", "encoder.layers.{rest*}"),
    )
)
FIXED = {"position_embeddings_type": "relative_key", "hidden_act": "swish", "add_adapter": False,
         "use_intermediate_ffn_before_adapter": False}  # fmt: skip
"""What the layers are; a config that says something else is of another network."""
NEEDED = ("num_attention_heads", "left_max_position_embeddings", "right_max_position_embeddings")


def sniff(keys: frozenset[str]) -> float:
    """1 for a Conformer with the names of the release, with or without a prefix."""
    plain = {key.removeprefix(PREFIX) for key in keys}
    marks = (
        "feature_projection.projection.weight",
        "encoder.layers.0.self_attn.distance_embedding.weight",
        "encoder.layers.0.conv_module.depthwise_layer_norm.weight",
    )
    return 1.0 if all(mark in plain for mark in marks) else 0.0


def convert(state: Mapping[str, Tensor], source: Path, options: Mapping[str, str]) -> Imported:
    """Released tensors into an encoder that computes the same.

    Args:
        state: keys with or without ``wav2vec2_bert.``.
        source: the weights file, or its folder; ``config.json`` lies beside it.
        options: ``from_config``, a ``config.json`` elsewhere.

    Raises:
        CheckpointError: no config, one of another network, or keys and shapes that do not fit.
    """
    plain = {key.removeprefix(PREFIX): tensor for key, tensor in state.items()}
    folder = source if source.is_dir() else source.parent
    path = Path(options["from_config"]) if options.get("from_config") else folder / "config.json"
    config = encoder_config(plain, _read(path), str(path))
    expected = {f"encoder.{name}": tensor for name, tensor in W2vBert(config).state_dict().items()}
    ours, report = KEYS.apply(plain, source=source.name, target=NAME, expected=expected)
    report.notes.append(f"{config.depth} layers of width {config.width} with {config.heads} heads (config.json)")
    report.notes.append("quantiser and heads were not released: continued pre-training starts them anew")
    return Imported(
        encoder_config=config,
        state={name.removeprefix("encoder."): value for name, value in ours.items()},
        report=report,
        preprocessor=LogMelPreprocessor(RELEASED_FILTER_BANK),
        preprocessor_name="audio/log-mel",
        preprocessor_config=RELEASED_FILTER_BANK,
        notices="Weights by Meta AI under the MIT licence of their model page; see there.",
    )


def encoder_config(state: Mapping[str, Tensor], written: Mapping[str, Any], source: str) -> W2vBertConfig:
    """Settings from shapes (keys without prefix), and from the config what shapes cannot tell.

    Raises:
        CheckpointError: a tensor or setting that is needed is missing, or the config is of another network.
    """
    first = "encoder.layers.0."
    shapes = ("feature_projection.projection.weight", f"{first}ffn1.intermediate_dense.weight",
              f"{first}conv_module.depthwise_conv.weight")  # fmt: skip
    lacking = [name for name in shapes if name not in state]
    missing = [name for name in NEEDED if name not in written]
    if lacking or missing:
        where = f"{source} lacks {', '.join(missing)}" if missing else f"the file lacks {', '.join(lacking)}"
        raise CheckpointError(where, meaning="heads and positions cannot be read from shapes")
    wrong = [f"{name}={written[name]!r}" for name, only in FIXED.items() if written.get(name, only) != only]
    if wrong:
        raise CheckpointError(f"{source} is of another network", got=", ".join(wrong))
    projection, inner, taps = (state[name] for name in shapes)
    depth = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("encoder.layers."))
    return W2vBertConfig(
        width=projection.shape[0],
        depth=depth,
        heads=int(written["num_attention_heads"]),
        feed_forward_width=inner.shape[0],
        kernel=taps.shape[-1],
        left_positions=int(written["left_max_position_embeddings"]),
        right_positions=int(written["right_max_position_embeddings"]),
        front_end="stacked",
        mel_bins=projection.shape[1] // 2,
        norm_epsilon=float(written.get("layer_norm_eps", 1e-5)),
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = read_json_file(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read", expected="config.json of the released model", reason=error,
            hint="--option from_config=FILE",
        ) from error  # fmt: skip
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no settings", got=type(content).__name__)
    return content
