"""Objective ``generic/token-alignment``: a student's tokens towards a frozen teacher's tokens of the same places.

Yu et al. 2025 (REPA), arXiv 2410.06940, without the diffusion model around it: the student is any encoder, the teacher
any model folder, and both see the same prepared item. Differs: the mean is over the valid tokens of the batch.

Symbols: B items, T student tokens, U teacher tokens, P coordinates of a position.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from repcore.checkpoints.model_folder import ModelFolder
from repcore.checkpoints.reading import file_sha256
from repcore.embedding.model import load
from repcore.errors import ConfigError, RunError
from repcore.interfaces import Batch, Draws, Features, LossTerms, Progress, Tokens
from repcore.nn.frozen import Frozen
from repcore.training.start import RunStart
from repcore_generic.configs.token_alignment import TokenAlignmentConfig
from repcore_generic.objectives.alignment import alignment_loss, build_projector, item_alignment_loss, token_cosines
from repcore_generic.objectives.pairs import no_autocast
from repcore_generic.objectives.places import dense, matched

TERM = "alignment"
STUDENT_DEPTH = 0.3  # of the network: 8 of 28 layers in the paper


class TokenAlignment(nn.Module):
    """See the module's text.

    Args:
        config: settings; ``teacher`` is needed.
        encoder: one that gives tokens and says their width (``token_width``).

    Raises:
        ConfigError: no teacher, no such layer, or an encoder that does not say how wide its tokens are.
        DataError: the teacher's folder holds no model.
    """

    def __init__(self, config: TokenAlignmentConfig, encoder: nn.Module) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        if not config.teacher:
            raise ConfigError("token alignment needs a teacher", hint="objective.teacher=RUN_OR_MODEL_FOLDER")
        teacher = load(config.teacher)
        self.teacher = Frozen(teacher.encoder, teacher.folder.encoder_name, teacher.identity())
        self._folder: ModelFolder = teacher.folder
        self.layer = _layer(config, encoder)
        self.projector = build_projector(
            _width(encoder, "" if self.layer is not None else config.level, "this run's encoder"),
            config.projector_width,
            _width(teacher.encoder, config.level, f"the teacher {config.teacher}"),
        )

    def begin(self, start: RunStart) -> None:
        """The teacher must read what this run's preprocessor prepares.

        Raises:
            ConfigError: it was trained on items prepared otherwise.
        """
        theirs = self._folder.preprocessor_name
        with TemporaryDirectory() as folder:
            state = json.loads(json.dumps(dict(start.preprocessor.save(Path(folder)))))  # as a file holds it
            files = {one.name: file_sha256(one) for one in Path(folder).iterdir() if one.is_file()}
        recorded = dict(self._folder.preprocessing.get("state", {}))
        state |= files
        recorded |= {Path(name).name: digest for name, digest in self._folder.preprocessing.get("files", {}).items()}
        differing = sorted(key for key in {*state, *recorded} if state.get(key) != recorded.get(key))
        if differing:
            raise ConfigError(
                f"teacher {self.config.teacher} reads items as {theirs} prepared them for it; this run prepares them "
                f"otherwise: {', '.join(differing)}",
                hint="the teacher's data and preprocessor settings",
            )

    def draw(self, batch: Batch, generator: torch.Generator, progress: Progress) -> Draws:
        """Nothing: both see the same item."""
        del batch, generator, progress
        return {}

    def forward(self, batch: Batch, draws: Draws) -> LossTerms:
        del draws
        student = self._tokens(self.encoder(batch, () if self.layer is None else (self.layer,)), self.layer)
        features: Features = self.teacher(batch)
        target = self._tokens(features, None)
        mine = dense(student, batch.size)
        theirs, valid = matched(mine, dense(target, batch.size), self.config.align)
        with no_autocast(theirs):
            wanted = theirs.float()
            self._check(wanted, valid, batch)
            valid = valid & (wanted.norm(dim=-1) > 0)
            cosine = token_cosines(self.projector(mine.values.float()), wanted)
            mean = alignment_loss if self.config.mean_over == "tokens" else item_alignment_loss
            loss = mean([cosine], valid)
        return LossTerms.of(
            {TERM: loss}, {TERM: self.config.weight}, counts={TERM: valid.sum()}, metrics={"cosine": -loss.detach()}
        )

    def _tokens(self, features: Features, layer: int | None) -> Tokens:
        if layer is not None:
            return features.layers[layer]
        level = self.config.level or next(iter(features.tokens), "")
        if level not in features.tokens:
            raise ConfigError(f"no tokens of level {level!r}", levels=", ".join(features.tokens) or "none")
        return features.tokens[level]

    @staticmethod
    def _check(wanted: Tensor, valid: Tensor, batch: Batch) -> None:
        bad = (~wanted.isfinite().all(-1) & valid).any(1)
        if bool(bad.any()):
            place = int(bad.nonzero()[0])
            name = batch.sample_id[place] if place < len(batch.sample_id) else place
            raise RunError(f"the teacher gives NaN or Inf for item {name!r}")


def _layer(config: TokenAlignmentConfig, encoder: nn.Module) -> int | None:
    """The student's layer; None = output tokens."""
    depth = getattr(encoder, "depth", None)
    if depth is None:
        if config.layer is not None:
            raise ConfigError("this encoder has no layers of one width", field="objective.layer", hint="leave it out")
        return None
    layer = max(1, math.ceil(STUDENT_DEPTH * int(depth))) if config.layer is None else config.layer
    first = int(getattr(encoder, "first_layer", 0))
    if not first <= layer <= int(depth):
        raise ConfigError(f"layer={layer}: the encoder has layers {first} to {depth}", field="objective.layer")
    return layer


def _width(encoder: nn.Module, level: str, whose: str) -> int:
    told = getattr(encoder, "token_width", None)
    if told is None:
        raise ConfigError(
            f"{whose} ({type(encoder).__name__}) does not say how wide its tokens are", expected="a method token_width"
        )
    try:
        return int(told(level) if level else told())
    except KeyError as error:
        raise ConfigError(f"{whose} has no token level {level!r}", field="objective.level") from error
