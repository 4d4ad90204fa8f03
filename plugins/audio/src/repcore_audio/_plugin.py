"""What repcore-audio registers. Imports nothing heavy: the code behind each name is loaded on first use."""

from __future__ import annotations

from repcore.hooks import hookimpl
from repcore.specs import (
    CheckpointSpec,
    CommandSpec,
    DatasetSpec,
    EncoderSpec,
    ObjectiveSpec,
    OpSpec,
    PluginInfo,
    PreprocessorSpec,
    RecipeSpec,
    SystemSpec,
    TargetSpec,
    TaskSpec,
    TensorSpec,
)

PACKAGE = "repcore_audio"
PAPER = "Shams et al. 2024, SSAMBA, arXiv 2405.11831 (IEEE SLT 2024)"
LICENCE = "Apache-2.0 (this implementation); the authors' repository is BSD 3-clause"
SPECTROGRAM = TensorSpec("spectrogram", "B T F", unit="normalised log power")
LENGTHS = TensorSpec("frames", "B", "int64", unit="frames", optional=True)
WAVEFORM = TensorSpec("samples", "C N", unit="full scale")
RECORDINGS = f"{PACKAGE}.configs.recordings:RecordingsConfig"
FOLDERS = f"{PACKAGE}.datasets.folders"
SNIFFERS = f"{PACKAGE}.datasets.sniffing"
RENDER = f"{PACKAGE}.rendering.recordings:render"


@hookimpl
def repcore_plugin_info() -> PluginInfo:
    return PluginInfo(
        title="Audio",
        domain="audio",
        api_version=1,
        summary="Recordings: SSAMBA, a state-space encoder of spectrograms with linear cost",
        licence="Apache-2.0",
    )


@hookimpl
def repcore_encoders() -> list[EncoderSpec]:
    return [
        EncoderSpec(
            name="ssamba",
            summary="Bidirectional Mamba over log-mel patches; clips of any length",
            target=f"{PACKAGE}.encoders.ssamba:Ssamba",
            config=f"{PACKAGE}.configs.ssamba:SsambaConfig",
            inputs=(SPECTROGRAM, LENGTHS),
            outputs=(TensorSpec("patches", "B P E"), TensorSpec("columns", "B T E")),
            poolings=("default", "mean", "cls", "max", "segments", "band-segments"),
            levels=("patches", "columns"),
            capabilities=("masked-patches",),
            paper=PAPER,
            licence=LICENCE,
            example=f"{PACKAGE}.examples.ssamba:ssamba",
        )
    ]


@hookimpl
def repcore_objectives() -> list[ObjectiveSpec]:
    return [
        ObjectiveSpec(
            name="masked-patches",
            summary="Find and redraw hidden spectrogram patches (InfoNCE and squared error)",
            target=f"{PACKAGE}.objectives.ssamba:MaskedPatches",
            config=f"{PACKAGE}.configs.ssamba:MaskedPatchesConfig",
            needs=("masked-patches",),
            decay_rule=f"{PACKAGE}.objectives.ssamba:has_weight_decay",
            paper=PAPER,
            licence=LICENCE,
            example=f"{PACKAGE}.examples.ssamba:masked_patches",
        )
    ]


@hookimpl
def repcore_datasets() -> list[DatasetSpec]:
    def files(name: str, reader: str, sniffer: str, summary: str, config: str = RECORDINGS) -> DatasetSpec:
        return DatasetSpec(
            name=name,
            summary=summary,
            target=reader,
            config=config,
            produces=(WAVEFORM,),
            sniff=f"{SNIFFERS}:{sniffer}",
            render=RENDER,
            needs=("soundfile",),
            hints={"soundfile": "pip install soundfile"},
        )

    return [
        files("folder", f"{FOLDERS}:FolderReader", "folder", "Any folder of recordings; subfolders are classes"),
        files("fsdd", f"{FOLDERS}:FsddReader", "fsdd", "Spoken digits named digit_speaker_take.wav"),
        files("esc50", f"{FOLDERS}:Esc50Reader", "esc50", "ESC-50 layout: audio/ and meta/esc50.csv with folds"),
        files("speech-commands", f"{FOLDERS}:SpeechCommandsReader", "speech_commands", "Speech Commands layout"),
        files(
            "manifest",
            f"{PACKAGE}.datasets.manifests:ManifestReader",
            "manifest",
            "A CSV, TSV, parquet or JSON list of recordings with labels",
            f"{PACKAGE}.configs.recordings:ManifestConfig",
        ),
        DatasetSpec(
            name="sounds",
            summary="Generated instruments and environmental sounds of ten classes",
            target=f"{PACKAGE}.datasets.sounds:Sounds",
            config=f"{PACKAGE}.configs.recordings:SoundsConfig",
            produces=(WAVEFORM,),
            targets=(TargetSpec("sound", "class"),),
            render=RENDER,
            embedded=True,
            licence="generated",
            example=f"{PACKAGE}.examples.ssamba:sounds",
        ),
    ]


@hookimpl
def repcore_preprocessors() -> list[PreprocessorSpec]:
    return [
        PreprocessorSpec(
            name="log-mel",
            summary="Resampling, windows, Kaldi log-mel filter bank, normalisation",
            target=f"{PACKAGE}.preprocessors.spectrogram:LogMelPreprocessor",
            config=f"{PACKAGE}.configs.spectrogram:LogMelConfig",
            accepts=(WAVEFORM,),
            produces=(SPECTROGRAM, LENGTHS),
            baselines={
                "fbank-statistics": f"{PACKAGE}.preprocessors.spectrogram:filter_bank_statistics",
                "fbank-segments": f"{PACKAGE}.preprocessors.spectrogram:filter_bank_segments",
            },
            splits={
                "declared-folds": f"{PACKAGE}.preprocessors.splits:declared_folds",
                "leave-one-group-out": f"{PACKAGE}.preprocessors.splits:leave_one_group_out",
            },
        )
    ]


@hookimpl
def repcore_recipes() -> list[RecipeSpec]:
    recipes = f"{PACKAGE}.recipes.ssamba"
    presets = ("tiny", "scratch", "paper-tiny", "paper-small", "paper-base")
    return [
        RecipeSpec(
            name="ssamba",
            summary="Masked spectrogram patch modelling",
            presets={name: f"{recipes}:{name.replace('-', '_')}" for name in presets},
            default="tiny",
            paper=PAPER,
        )
    ]


@hookimpl
def repcore_checkpoints() -> list[CheckpointSpec]:
    sizes = [f"ssamba_{size}_{masked}.pth" for size in ("tiny", "small", "base") for masked in (250, 300, 400)]
    return [
        CheckpointSpec(
            name="ssamba",
            summary="Published SSAMBA weights, pre-trained or fine-tuned",
            target=f"{PACKAGE}.checkpoints.ssamba:convert",
            sniff=f"{PACKAGE}.checkpoints.ssamba:sniff",
            encoder="ssamba",
            files=tuple(sizes),
            licence="BSD 3-clause repository",
        )
    ]


@hookimpl
def repcore_ops() -> list[OpSpec]:
    op = f"{PACKAGE}.ops.selective_scan"
    return [
        OpSpec(
            name="selective-scan",
            summary="State-space recurrence of Mamba, all directions of a block in one call",
            reference=f"{op}.torch:selective_scan",
            implementations={
                "chunked": f"{op}.chunked:selective_scan",
                "triton": f"{op}.triton:selective_scan",
                "mamba-ssm": f"{op}.mamba_ssm:selective_scan",
            },
            cases=f"{op}.cases:cases",
            priority=f"{op}.availability:priority",
            usable={
                "triton": "repcore.ops:triton_unusable",
                "mamba-ssm": f"{op}.availability:mamba_ssm_unusable",
            },
            tolerance=2e-5,  # float32 sums over hundreds of steps in another order
        )
    ]


@hookimpl
def repcore_tasks() -> list[TaskSpec]:
    config = f"{PACKAGE}.configs.ssamba:SoundTaskConfig"
    return [
        TaskSpec(
            name="sound-class",
            summary="One class a clip, with SpecAugment and mixup",
            target=f"{PACKAGE}.tasks.sounds:SoundClassTask",
            config=config,
            target_kind="class",
        ),
        TaskSpec(
            name="sound-labels",
            summary="Several labels a clip, with SpecAugment and mixup",
            target=f"{PACKAGE}.tasks.sounds:SoundLabelsTask",
            config=config,
            target_kind="multilabel",
        ),
    ]


@hookimpl
def repcore_commands() -> list[CommandSpec]:
    return [
        CommandSpec(
            name="stats",
            summary="Log-mel mean and deviation of a data set",
            target=f"{PACKAGE}.commands.stats:stats_command",
        )
    ]


@hookimpl
def repcore_systems() -> list[SystemSpec]:
    return [
        SystemSpec(
            name="ssamba",
            summary="Self-supervised audio Mamba",
            paper=PAPER,
            licence=LICENCE,
            encoders=("ssamba",),
            objectives=("masked-patches",),
            recipes=("ssamba",),
            checkpoints=("ssamba",),
            replay=f"{PACKAGE}.verification.ssamba:replay",
            differences=DIFFERENCES,
        )
    ]


DIFFERENCES = (
    ("wiring", "blocks in pairs, residual doubles at every pair", "plain pre-norm residual", "encoder.wiring"),
    ("final norm", "applied twice", "applied once", "encoder.double_final_norm"),
    ("backward scan", "short memory at the start", "as the forward scan", "encoder.legacy_dt_b_init"),
    ("masks", "blocks, biased against low bands and last patches", "every patch alike", "objective.mask_sampler"),
    ("passes", "two encoder passes with two masks a step", "one pass serves both losses", "objective.passes"),
    ("negatives", "hidden patches of the same clip", "the same; all clips on request", "objective.negatives"),
    ("softmax", "over predictions in code, over targets in the paper", "as the code", "objective.softmax_over"),
    ("length", "pad or cut to 1024 frames, padding is seen", "any length, padding is marked", "preprocessor.length"),
    ("padding", "0 in the log domain, louder than silence", "digital silence", "preprocessor.padding"),
    ("warm-up", "staircase of 50 steps, then halved when validation stalls", "linear, then constant", "schedule"),
    ("mixup", "waveforms, each clip with its own share", "powers of a batch, one share", "task.mixup"),
)
"""Where defaults depart from the paper or its code."""
