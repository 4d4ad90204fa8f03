"""What the trained objective makes of held-out rows, drawn by the objective itself: ``pictures.jsonl`` of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch

from repcore.data.guard import error_in_words, is_strict, owner_of
from repcore.data.seeds import mix
from repcore.interfaces import Batch, Objective, Picture, Progress
from repcore.training.assembly import RunParts
from repcore.training.loaders import FixedBatches, build_loader
from repcore.training.run_folder import RunFolder

NAME = "pictures.jsonl"
ROWS = 6
MOST_BYTES = 1_500_000  # of HTML in all: the report carries it whole

log = logging.getLogger(__name__)


def write_pictures(parts: RunParts, folder: RunFolder, progress: Progress) -> str:
    """Let the objective draw a few held-out rows (training rows where none are held out).

    Nothing is written for an objective without a method ``picture``. A row that cannot be drawn is left out: a drawing
    must not cost a finished run.

    Args:
        progress: where in the run views and draws are made; the last step, for what training ended with.

    Returns:
        why pictures are missing; empty when none is.
    """
    draw = getattr(parts.objective, "picture", None)
    if draw is None:
        return ""
    was_training = parts.objective.training
    parts.objective.eval()
    try:
        lines, problem = _drawn(parts, draw, progress)
    except Exception as error:  # rows that cannot be drawn from any more: the run itself is finished
        if is_strict():
            raise
        log.warning("rows for pictures cannot be read", exc_info=True)
        return f"{error_in_words(error)} (in {owner_of(parts.reader)})"
    finally:
        parts.objective.train(was_training)
    (folder.path / NAME).unlink(missing_ok=True)
    folder.append_lines(NAME, lines)
    return problem


def _drawn(
    parts: RunParts, draw: Callable[[Batch, Any], object], progress: Progress
) -> tuple[list[dict[str, str]], str]:
    rows = parts.validation if len(parts.validation) else parts.train
    places = np.unique(np.linspace(0, len(rows) - 1, ROWS).astype(int))
    lines: list[dict[str, str]] = []
    problem, left = "", MOST_BYTES
    for loaded in _single_rows(parts, rows[places], progress):
        batch = loaded.batch.to(_device(parts.objective))
        try:
            picture = _picture(parts, draw, batch, progress)
        except Exception as error:  # whatever a plugin's drawing raises
            if is_strict():
                raise
            log.warning("the objective cannot draw %s", batch.sample_id, exc_info=True)
            problem = problem or f"{batch.sample_id[0]} cannot be drawn: {error_in_words(error)}"
            continue
        left -= len(picture.html)
        if left < 0:
            problem = problem or f"{len(lines)} of {len(places)} pictures fit into {MOST_BYTES:,} bytes"
            break
        lines.append({"id": batch.sample_id[0], "html": picture.html, "alt": picture.alt})
    return lines, problem


def _picture(parts: RunParts, draw: Callable[[Batch, Any], object], batch: Batch, progress: Progress) -> Picture:
    rules = cast(Objective, parts.objective)
    generator = torch.Generator(device=_device(parts.objective))
    generator.manual_seed(mix(parts.resolved.trainer.seed, "picture", *batch.sample_id))
    with torch.no_grad():
        picture = draw(batch, rules.draw(batch, generator, progress))
    if not isinstance(picture, Picture):
        raise TypeError(f"picture returned {type(picture).__name__}, not a Picture")
    return picture


def _single_rows(parts: RunParts, rows: np.ndarray, progress: Progress) -> Any:
    return build_loader(
        parts.items(rows),
        FixedBatches(rows, 1, parts.resolved.trainer.seed, progress=progress),
        parts.reader.targets,
        domain=parts.resolved.domain,
        workers=0,
        pin_memory=False,
    )


def _device(module: torch.nn.Module) -> torch.device:
    return next(iter(module.parameters())).device
