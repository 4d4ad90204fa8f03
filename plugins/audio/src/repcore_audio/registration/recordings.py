"""Recordings: readers, the generated set, and their way to spectrograms."""

from __future__ import annotations

from repcore.specs import (
    DatasetSpec,
    DenseWriterSpec,
    PreprocessorSpec,
    TargetSpec,
    TensorSpec,
    ViewsSpec,
)

PACKAGE = "repcore_audio"
SPECTROGRAM = TensorSpec("spectrogram", "B T F", unit="normalised log power")
LENGTHS = TensorSpec("frames", "B", "int64", unit="frames", optional=True)
WAVEFORM = TensorSpec("samples", "C N", unit="full scale")
RECORDINGS = f"{PACKAGE}.configs.recordings:RecordingsConfig"
FOLDERS = f"{PACKAGE}.datasets.folders"
SNIFFERS = f"{PACKAGE}.datasets.sniffing"
RENDER = f"{PACKAGE}.rendering.recordings:render"
OVERLAY = f"{PACKAGE}.rendering.frame_labels:overlay"
RENDER_HEAT = f"{PACKAGE}.rendering.recordings:render_heat"


def _files(name: str, reader: str, sniffer: str, summary: str, config: str = RECORDINGS) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        summary=summary,
        target=reader,
        config=config,
        produces=(WAVEFORM,),
        sniff=f"{SNIFFERS}:{sniffer}",
        render=RENDER,
        overlay=OVERLAY,
        render_heat=RENDER_HEAT,
        needs=("soundfile",),
        hints={"soundfile": "pip install soundfile"},
    )


DATASETS = (
    _files("folder", f"{FOLDERS}:FolderReader", "folder", "Any folder of recordings; subfolders are classes"),
    _files("fsdd", f"{FOLDERS}:FsddReader", "fsdd", "Spoken digits named digit_speaker_take.wav"),
    _files("esc50", f"{FOLDERS}:Esc50Reader", "esc50", "ESC-50 layout: audio/ and meta/esc50.csv with folds"),
    _files(
        "urbansound8k",
        f"{PACKAGE}.datasets.urban_sound:UrbanSoundReader",
        "urban_sound",
        "UrbanSound8K layout: audio/fold1 ... and metadata/UrbanSound8K.csv",
    ),
    _files(
        "kaldi",
        f"{PACKAGE}.datasets.kaldi:KaldiReader",
        "kaldi",
        "A data folder of Kaldi: wav.scp with segments, utt2spk and labels utt2X",
    ),
    _files("speech-commands", f"{FOLDERS}:SpeechCommandsReader", "speech_commands", "Speech Commands layout"),
    _files(
        "manifest",
        f"{PACKAGE}.datasets.manifests:ManifestReader",
        "manifest",
        "A table, JSON list, selection table or label track of recordings or stretches of them",
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
        render_heat=RENDER_HEAT,
        embedded=True,
        licence="generated",
        example=f"{PACKAGE}.examples.ssamba:sounds",
    ),
    DatasetSpec(
        name="takes",
        summary="Generated words and sounds; views of one are two takes: other voices, microphones, backgrounds",
        target=f"{PACKAGE}.datasets.takes:Takes",
        config=f"{PACKAGE}.configs.recordings:TakesConfig",
        produces=(WAVEFORM,),
        targets=(TargetSpec("kind", "class"),),
        render=RENDER,
        render_heat=RENDER_HEAT,
        embedded=True,
        licence="generated",
        example=f"{PACKAGE}.examples.ssamba:takes",
    ),
)

PREPROCESSORS = (
    PreprocessorSpec(
        name="log-mel",
        summary="Resampling, windows, Kaldi log-mel filter bank, normalisation",
        target=f"{PACKAGE}.preprocessors.spectrogram:LogMelPreprocessor",
        config=f"{PACKAGE}.configs.spectrogram:LogMelConfig",
        accepts=(WAVEFORM,),
        produces=(SPECTROGRAM, LENGTHS),
        baselines={
            "fbank-statistics": f"{PACKAGE}.preprocessors.baselines:filter_bank_statistics",
            "fbank-segments": f"{PACKAGE}.preprocessors.baselines:filter_bank_segments",
        },
        splits={
            "declared-folds": f"{PACKAGE}.preprocessors.splits:declared_folds",
            "leave-one-group-out": f"{PACKAGE}.preprocessors.splits:leave_one_group_out",
        },
    ),
)

WRITER = f"{PACKAGE}.writers.frames"
DENSE_WRITERS = (
    DenseWriterSpec(
        name="frames",
        summary="Table with start, end, class and probabilities (or values) of every frame of 10 ms",
        target=f"{WRITER}:write_frames",
        level="token",
        suffixes=(".csv",),
    ),
    DenseWriterSpec(
        name="raven",
        summary="Selection table for Raven: consecutive frames of one class are one selection",
        target=f"{WRITER}:write_raven",
        level="token",
        suffixes=(".Table.1.selections.txt",),
    ),
)

VIEWS = (
    ViewsSpec(
        name="sound-pair",
        summary="Two stretches of a window, shifted, louder or softer, noisy, with hidden bands and frames",
        target=f"{PACKAGE}.views.sounds:SoundPair",
        config=f"{PACKAGE}.configs.views:SoundPairConfig",
        names=("a", "b"),
        role="pair",
        accepts=(WAVEFORM,),
    ),
    ViewsSpec(
        name="sound-weak-strong",
        summary="A window shifted a little, and a stretch of it that is noisy and hidden in part",
        target=f"{PACKAGE}.views.sounds:SoundWeakStrong",
        config=f"{PACKAGE}.configs.views:SoundWeakStrongConfig",
        names=("weak", "strong"),
        role="weak-strong",
        accepts=(WAVEFORM,),
    ),
)
