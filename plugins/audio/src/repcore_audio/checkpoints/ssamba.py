"""Published SSAMBA weights: pre-trained (``module.v.*`` and two prediction heads) and fine-tuned (``mlp_head``).

Source: `SiavashShams/ssamba`, plain state dicts of a DataParallel model; method card, section 7. Sizes, depth, patch
shape and norm are read from shapes; the position grid from ``p_input_fdim`` and ``p_input_tdim``, the mel bins and
frames of the pre-training input. A fine-tuned file does not hold them, so the grid must be told: ``grid=12x101`` and
``stride=10``. Nor does it say whether its outputs are classes (softmax) or labels (sigmoid): ``kind=class`` or
``kind=labels``, or the data set by ``statistics``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from repcore.checkpoints.imported import Imported, ImportedTask
from repcore.checkpoints.keymap import Drop, KeyMap, LoadReport, Rename
from repcore.errors import CheckpointError
from repcore.specs import TargetSpec
from repcore_audio.configs import spectrogram as statistics
from repcore_audio.configs.spectrogram import PUBLISHED_LOG_MEL, LogMelConfig
from repcore_audio.configs.ssamba import PUBLISHED_TINY, SoundTaskConfig, SsambaConfig
from repcore_audio.encoders.patches import grid_size
from repcore_audio.encoders.ssamba import NAME, Ssamba
from repcore_audio.preprocessors.spectrogram import LogMelPreprocessor

MIXER = "v.layers.{i}.mixer."
BLOCK = "encoder.blocks.{i}.mixer."
DIRECTIONS = (("", 0), ("_b", 1))
KEYS = KeyMap(
    (
        Drop("p_input_fdim", "size of the pre-training input: kept in the config"),
        Drop("p_input_tdim", "size of the pre-training input: kept in the config"),
        Drop("v.head.{part}", "classifier of Vision Mamba that nothing uses"),
        Rename("v.cls_token", "encoder.cls_token"),
        Rename("v.pos_embed", "encoder.positions"),
        Rename("v.patch_embed.proj.{part}", "encoder.patch_embed.{part}"),
        Rename("v.norm_f.{part}", "encoder.norm.{part}"),
        Rename("v.layers.{i}.norm.{part}", "encoder.blocks.{i}.norm.{part}"),
        Rename(MIXER + "in_proj.{part}", BLOCK + "in_proj.{part}"),
        Rename(MIXER + "out_proj.{part}", BLOCK + "out_proj.{part}"),
        *(
            Rename(f"{MIXER}{name}{suffix}.{{part}}", f"{BLOCK}directions.{number}.{name}.{{part}}")
            for suffix, number in DIRECTIONS
            for name in ("conv1d", "x_proj", "dt_proj")
        ),
        *(
            Rename(f"{MIXER}{old}", f"{BLOCK}directions.{number}.{new}")
            for number, names in enumerate(((("A_log", "A_log"), ("D", "D")), (("A_b_log", "A_log"), ("D_b", "D"))))
            for old, new in names
        ),
        Rename("mask_embed", "objective.mask_token"),
        Rename("cpredlayer.{rest*}", "objective.contrastive_head.{rest*}"),
        Rename("gpredlayer.{rest*}", "objective.reconstruction_head.{rest*}"),
        Rename("mlp_head.{rest*}", "task.classifier.{rest*}"),
    )
)
STATISTICS = {
    "audioset": statistics.AUDIOSET_STATISTICS,
    "esc50": statistics.ESC50_STATISTICS,
    "speechcommands": statistics.SPEECH_COMMANDS_STATISTICS,
    "urban8k": statistics.URBAN_SOUND_STATISTICS,
}
KINDS = {"audioset": "labels", "esc50": "class", "speechcommands": "class", "urban8k": "class"}
"""What the outputs of the published fine-tuned models are, by data set."""
POOLINGS = {"mean": "ft_avgtok", "cls": "ft_cls"}
OPTIONS = ("grid", "stride", "wiring", "statistics", "length", "kind", "head")


def sniff(keys: frozenset[str]) -> float:
    """1 for a bidirectional Mamba over patches with SSAMBA's names, with or without ``module.``."""
    plain = {key.removeprefix("module.") for key in keys}
    marks = ("v.patch_embed.proj.weight", "v.pos_embed", "v.layers.0.mixer.A_b_log")
    return 1.0 if all(mark in plain for mark in marks) else 0.0


def convert(state: Mapping[str, Tensor], source: Path, options: Mapping[str, str]) -> Imported:
    """Published tensors into an encoder that computes the same.

    Args:
        state: keys with or without ``module.``.
        source: for messages.
        options: ``grid`` (rows x columns of the position table) and ``stride`` of a fine-tuned file; ``wiring``
            (default paired), ``statistics`` (audioset, esc50, speechcommands, urban8k), ``length`` (fixed, variable);
            of a fine-tuned head ``kind`` (class, labels) and ``head``, what it reads (mean over patches, or cls).

    Raises:
        CheckpointError: keys or shapes that are not of this system, or something that shapes cannot tell is missing.
    """
    _check_options(options)
    plain = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    config = encoder_config(plain, source, options)
    expected = {f"encoder.{name}": tensor for name, tensor in Ssamba(config).state_dict().items()}
    expected |= {new: plain[old] for old, new in _head_names(plain).items()}
    ours, report = KEYS.apply(plain, source=source.name, target=NAME, expected=expected)
    _add_notes(report, config, options)
    heads = {part: _below(ours, part) for part in ("objective", "task")}
    task, missing = sound_task(heads["task"], options, report)
    front_end = preprocessor_config(config, options)
    return Imported(
        encoder_config=config,
        state=_below(ours, "encoder"),
        report=report,
        preprocessor=LogMelPreprocessor(front_end),
        preprocessor_name="audio/log-mel",
        preprocessor_config=front_end,
        heads={part: found for part, found in heads.items() if found},
        task=task,
        task_missing=missing,
        notices="Weights by the authors of SSAMBA (BSD 3-clause repository); see its licence.",
    )


def sound_task(
    head: Mapping[str, Tensor], options: Mapping[str, str], report: LoadReport
) -> tuple[ImportedTask | None, str]:
    """The published head as a task, or why it cannot be one."""
    if not head:
        return None, ""
    weight = head.get("classifier.1.weight")
    outputs = 0 if weight is None else len(weight)
    kind = options.get("kind") or KINDS.get(options.get("statistics", ""))
    if kind is None:
        return None, (
            f"the file does not say whether its {outputs} outputs are classes or labels: import it with "
            "--option kind=class or --option kind=labels, and it predicts"
        )
    if "kind" not in options:
        report.notes.append(f"outputs: {kind}, as of {options['statistics']} (option kind=class or labels)")
    if "head" not in options:
        report.notes.append("head: on the mean over patches (option head=cls for the class token)")
    config = SoundTaskConfig(pooling=POOLINGS[options.get("head", "mean")])  # type: ignore[arg-type]  # checked
    target = TargetSpec("class", "class") if kind == "class" else TargetSpec("labels", "multilabel")
    name = "sound-class" if kind == "class" else "sound-labels"
    return ImportedTask(name=name, config=config, target=target, outputs=outputs, state=head), ""


def encoder_config(state: Mapping[str, Tensor], source: Path, options: Mapping[str, str]) -> SsambaConfig:
    """Settings read from shapes (keys without ``module.``) and options.

    Raises:
        CheckpointError: a tensor that tells a size is missing, or the grid is not known.
    """
    first = "v.layers.0.mixer."
    needed = (
        "v.patch_embed.proj.weight",
        "v.pos_embed",
        *(first + name for name in ("A_log", "conv1d.weight", "dt_proj.weight")),
    )
    missing = [name for name in needed if name not in state]
    if missing:
        raise CheckpointError(f"{source.name} lacks {', '.join(missing)}", meaning="it is no SSAMBA model")
    if first + "A_b_log" not in state:
        raise CheckpointError(
            f"{source.name} scans in one direction only", expected="bimamba_type v2, as all released models"
        )
    width, _, patch_frequency, patch_time = state["v.patch_embed.proj.weight"].shape
    layers = {int(match[1]) for key in state if (match := re.match(r"v\.layers\.(\d+)\.", key))}
    stride = int(options["stride"]) if "stride" in options else None
    strides = (stride or patch_frequency, stride or patch_time)
    grid, (mel_bins, frames) = _grid(state, source, options, (patch_frequency, patch_time), strides)
    return replace(
        PUBLISHED_TINY,
        width=width,
        depth=max(layers) + 1,
        states=state[first + "A_log"].shape[1],
        expansion=state[first + "conv1d.weight"].shape[0] // width,
        convolution_width=state[first + "conv1d.weight"].shape[2],
        step_rank=state[first + "dt_proj.weight"].shape[1],
        patch_frequency=patch_frequency,
        patch_time=patch_time,
        stride_frequency=stride,
        stride_time=stride,
        mel_bins=mel_bins,
        frames=frames,
        position_grid=grid,
        normalisation="layer" if "v.layers.0.norm.bias" in state else "rms",
        wiring=options.get("wiring", "paired"),  # type: ignore[arg-type]  # checked by _check_options
    )


def preprocessor_config(config: SsambaConfig, options: Mapping[str, str]) -> LogMelConfig:
    """The published front end for this model's length."""
    mean, deviation = STATISTICS[options.get("statistics", "audioset")]
    frames = config.frames or PUBLISHED_LOG_MEL.frames
    return replace(
        PUBLISHED_LOG_MEL,
        mel_bins=config.mel_bins or PUBLISHED_LOG_MEL.mel_bins,
        frames=frames,
        frame_multiple=config.patch_time if frames % config.patch_time == 0 else 1,
        mean=mean,
        deviation=deviation,
        length=options.get("length", "fixed"),  # type: ignore[arg-type]  # checked by _check_options
    )


def _grid(
    state: Mapping[str, Tensor],
    source: Path,
    options: Mapping[str, str],
    patch: tuple[int, int],
    stride: tuple[int, int],
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of the position table, and the input size that it was made for (mel bins, frames)."""
    places = state["v.pos_embed"].shape[1] - 1
    if "grid" in options:
        match = re.fullmatch(r"(\d+)x(\d+)", options["grid"])
        if match is None:
            raise CheckpointError(f"grid={options['grid']!r} is not rows x columns", hint="grid=8x64")
        grid = (int(match[1]), int(match[2]))
        least = tuple((count - 1) * step + size for count, step, size in zip(grid, stride, patch, strict=True))
        bins = PUBLISHED_LOG_MEL.mel_bins  # a few bins above the last patch belong to none
        size = (bins if grid_size(bins, patch[0], stride[0]) == grid[0] else least[0], least[1])
    elif "p_input_fdim" in state and "p_input_tdim" in state:
        size = (int(state["p_input_fdim"]), int(state["p_input_tdim"]))
        grid = (grid_size(size[0], patch[0], stride[0]), grid_size(size[1], patch[1], stride[1]))
    else:
        raise CheckpointError(
            f"{source.name} has {places} positions, but not their grid",
            meaning="a fine-tuned file does not say it, and shapes cannot tell",
            hint="--option grid=ROWSxCOLUMNS --option stride=N (the patch size where patches do not overlap)",
        )
    if grid[0] * grid[1] != places:
        raise CheckpointError(f"a grid of {grid[0]} x {grid[1]} does not hold the {places} positions of {source.name}")
    if "grid" in options and "stride" not in options:
        raise CheckpointError(
            f"grid={options['grid']} leaves open how far patches stand apart",
            meaning="the same grid belongs to different numbers of mel bins and frames",
            hint="--option stride=16 for patches side by side, stride=10 for the published fine-tuned models",
        )
    return grid, size


def _head_names(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Published name -> ours of the heads that a file happens to have."""
    heads = {
        key: value
        for key, value in state.items()
        if key.split(".")[0] in ("mask_embed", "cpredlayer", "gpredlayer", "mlp_head")
    }
    _, report = KEYS.apply(heads, source="", target="")
    return report.renamed


def _below(state: Mapping[str, Any], part: str) -> dict[str, Any]:
    prefix = part + "."
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _add_notes(report: LoadReport, config: SsambaConfig, options: Mapping[str, str]) -> None:
    report.notes.append(f"{config.depth} blocks of width {config.width}, positions for {config.position_grid} patches")
    if "wiring" not in options:
        report.notes.append(
            "wiring: paired, two final norms, as pre-trained (option wiring=sequential for the SUPERB wrapper)"
        )
    if "statistics" not in options:
        report.notes.append("log-mel statistics: AudioSet (option statistics=esc50, speechcommands or urban8k)")


def _check_options(options: Mapping[str, str]) -> None:
    allowed = {
        "wiring": ("paired", "sequential"), "statistics": tuple(STATISTICS), "length": ("fixed", "variable"),
        "kind": ("class", "labels"), "head": tuple(POOLINGS),
    }  # fmt: skip
    for name, value in options.items():
        if name not in OPTIONS:
            raise CheckpointError(f"no option {name!r} for SSAMBA weights", known=", ".join(OPTIONS))
        if name in allowed and value not in allowed[name]:
            raise CheckpointError(f"{name}={value!r} is unknown", expected=", ".join(allowed[name]))
        if name == "stride" and not (value.isdigit() and int(value) > 0):
            raise CheckpointError(f"stride={value!r} is not a positive number", hint="stride=10")
