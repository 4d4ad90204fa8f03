"""The published layout of the anatomical-embedding network (``SAM.pth``), and our own files of it.

Source: `alibaba-damo-academy/alice`; the layout is read from its code, the file itself was not opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from repcore.checkpoints.keymap import Drop, KeyMap, LoadReport, Rename
from repcore.checkpoints.reading import read_checkpoint
from repcore.errors import CheckpointError
from repcore_medical3d.correspondence.anatomical_embedding import AnatomicalEmbedding

PARTS = (("conv1", "first"), ("conv2", "second"), ("downsample", "shortcut"))


def _conv_norm(old: str, new: str) -> list[Rename]:
    return [Rename(f"{old}.conv.{{part}}", f"{new}.0.{{part}}"), Rename(f"{old}.bn.{{part}}", f"{new}.1.{{part}}")]


def _stage_rules() -> list[Rename]:
    rules = []
    for number in range(4):
        for old, new in PARTS:
            rules += _conv_norm(f"backbone.layer{number + 1}.{{j}}.{old}", f"stages.{number}.{{j}}.{new}")
    return rules


KEYS = KeyMap(
    (
        *_conv_norm("backbone.conv1", "stem"),
        *_stage_rules(),
        Rename("neck.lateral_convs.{i}.conv.{part}", "fine_laterals.{i}.{part}"),
        Rename("neck.fpn_convs.0.conv.{part}", "fine_out.{part}"),
        Rename("read_out_head.lateral_convs.0.conv.{part}", "coarse_lateral.{part}"),
        Rename("read_out_head.fpn_convs.0.conv.{part}", "coarse_out.{part}"),
        Drop("neck.fpn_convs.{i}.conv.{part}", "further pyramid levels, which matching does not use"),
    )
)
OWN_MARK = "stem.0.weight"


def convert_embedding(state: Mapping[str, Tensor], source: str) -> tuple[AnatomicalEmbedding, LoadReport]:
    """A network from published or own tensors, and what happened to every key.

    Raises:
        CheckpointError: keys or shapes that are not of this network.
    """
    is_own = OWN_MARK in state
    first = OWN_MARK if is_own else "backbone.conv1.conv.weight"
    last = "fine_out.weight" if is_own else "neck.fpn_convs.0.conv.weight"
    if first not in state or last not in state:
        raise CheckpointError(f"{source} is no anatomical-embedding network", missing=first)
    network = AnatomicalEmbedding(base=int(state[first].shape[0]), width=int(state[last].shape[0]))
    rules = KeyMap((Rename("{rest*}", "{rest*}"),)) if is_own else KEYS
    ours, report = rules.apply(
        state, source=source, target="medical3d/anatomical-embedding", expected=network.state_dict(),
        may_miss=("*.num_batches_tracked",),
    )  # fmt: skip
    network.load_state_dict(ours, strict=False)
    return network.eval(), report


def load_embedding(path: Path) -> tuple[AnatomicalEmbedding, LoadReport, str]:
    """Read weights safely; returns the network, the report, and the file's sha256.

    Raises:
        CheckpointError: missing, unsafe, damaged, or another network.
    """
    found = read_checkpoint(path)
    network, report = convert_embedding(found.state, path.name)
    return network, report, hashlib.sha256(path.read_bytes()).hexdigest()
