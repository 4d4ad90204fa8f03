"""Spans of hidden frames, and the other hidden frames of a clip that they are told from, out of uniform draws.

Source: Baevski et al. 2020 (wav2vec 2.0, arXiv 2006.11477), section 3.1 and appendix A. Differs: a clip always has a
hidden frame, and one with a single hidden frame has only itself as "other", which the contrast leaves out.

Symbols: B clips, N frames, K negatives, M hidden frames of a clip.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def span_mask(draws: Tensor, valid: Tensor, probability: float, span: int) -> Tensor:
    """bool (B, N): spans start where ``draws < probability``, or at the smallest draw where that is nowhere.

    Args:
        draws: uniform (B, N).
        valid: bool (B, N); a span ends with its clip.
        span: frames of a span.
    """
    starts = (draws < probability) & valid
    smallest = draws.masked_fill(~valid, torch.inf).argmin(1, keepdim=True)
    starts = starts.scatter(1, smallest, ~starts.any(1, keepdim=True) | starts.gather(1, smallest))
    reach = F.max_pool1d(F.pad(starts.float()[:, None], (span - 1, 0)), span, stride=1)[:, 0]
    return (reach > 0) & valid


def other_hidden(draws: Tensor, mask: Tensor) -> Tensor:
    """Frame numbers of K other hidden frames of the same clip, int64 (B, N, K); -1 where a frame is not hidden.

    Args:
        draws: uniform (B, N, K).
        mask: bool (B, N). With one hidden frame it stands for itself.
    """
    hidden = torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)  # (B, N), hidden frames first, ascending
    rank = (mask.cumsum(1) - 1).clamp(min=0)[..., None]  # (B, N, 1)
    count = mask.sum(1)[:, None, None]
    chosen = (draws.double() * (count - 1)).floor().long().minimum(count - 2).clamp(min=0)
    chosen = chosen + ((chosen >= rank) & (count > 1))
    chosen = chosen.minimum((count - 1).clamp(min=0))
    index = hidden[..., None].expand(-1, -1, chosen.shape[-1]).gather(1, chosen)
    return index.masked_fill(~mask[..., None], -1)
