"""Changes of brightness, contrast, gamma, colour and sharpness of a batch of views, each view with its own amount.

Source: the published jitter (brightness, contrast, saturation, hue) and Gaussian blur of Adam-v2; gamma for volumes.
Differs: the order is fixed instead of random; the hue is turned at equal luminance (YIQ) instead of in HSV.

Values are 0 to 1 before and after. Symbols: M views, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

GREY = (0.299, 0.587, 0.114)
YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


@dataclass(frozen=True, slots=True)
class Jitter:
    """Largest changes, and the chance that a view gets any."""

    chance: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    gamma: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0


def jittered(views: Tensor, jitter: Jitter, generator: torch.Generator) -> Tensor:
    """Views (M, C, *S) with random intensities."""
    count = len(views)
    device = views.device
    drawn = 2 * torch.rand(5, count, generator=generator, device=device) - 1
    is_chosen = torch.rand(count, generator=generator, device=device) < jitter.chance
    drawn = drawn * is_chosen
    shape = (count, *[1] * (views.ndim - 1))
    brightness, contrast, gamma, saturation, hue = (one.view(shape) for one in drawn)
    views = (views * (1 + jitter.brightness * brightness)).clamp_(0, 1)  # in place from here: a copy at most
    mean, strength = _grey(views).flatten(1).mean(1).view(shape), 1 + jitter.contrast * contrast
    views = views.mul_(strength).add_((1 - strength) * mean).clamp_(0, 1)
    if jitter.gamma > 0:
        views = views.clamp_min(1e-6) ** (jitter.gamma * gamma).exp()
    if views.shape[1] == 3 and jitter.saturation > 0:
        grey = _grey(views)
        views = (grey + (1 + jitter.saturation * saturation) * (views - grey)).clamp(0, 1)
    if views.shape[1] == 3 and jitter.hue > 0:
        views = _turned_hue(views, jitter.hue * hue.view(count))
    return views


def _grey(views: Tensor) -> Tensor:
    """Luminance (M, 1, *S) of colour views, the mean channel of others."""
    if views.shape[1] != 3:
        return views.mean(1, keepdim=True)
    return (views * views.new_tensor(GREY).view(1, 3, *[1] * (views.ndim - 2))).sum(1, keepdim=True)


def _turned_hue(views: Tensor, turn: Tensor) -> Tensor:
    """Colours turned by a share of the circle (M,) at equal luminance."""
    to_yiq = views.new_tensor(YIQ)
    angle = 2 * math.pi * turn
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    rows = [(one, zero, zero), (zero, angle.cos(), -angle.sin()), (zero, angle.sin(), angle.cos())]
    rotation = torch.stack([torch.stack(row, -1) for row in rows], -2)  # (M, 3, 3)
    matrix = torch.linalg.inv(to_yiq) @ rotation @ to_yiq
    return torch.einsum("mij,mj...->mi...", matrix, views).clamp(0, 1)


def blurred(
    views: Tensor, chance: Sequence[float], deviation: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Gaussian smoothing of randomly chosen views.

    Args:
        views: (M, C, *S).
        chance: of each view, M of them.
        deviation: range of the standard deviation, in pixels of the view.
    """
    device = views.device
    drawn = torch.rand(2, len(views), generator=generator, device=device)
    chosen = (drawn[0] < torch.tensor(list(chance), device=device)).nonzero().squeeze(1)
    if len(chosen) == 0:
        return views
    sigma = deviation[0] + drawn[1, chosen] * (deviation[1] - deviation[0])
    result = views.clone()
    result[chosen] = smoothed(views[chosen], sigma, largest=deviation[1])
    return result


def smoothed(views: Tensor, sigma: Tensor, *, largest: float) -> Tensor:
    """Views (M, C, *S) convolved with a Gaussian of standard deviation (M,) along every axis; borders repeat."""
    radius = max(1, math.ceil(3 * largest))
    steps = torch.arange(-radius, radius + 1, device=views.device, dtype=views.dtype)
    kernel = torch.exp(-0.5 * (steps / sigma.to(views.dtype)[:, None].clamp_min(1e-3)) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)  # (M, taps)
    channels, axes = views.shape[1], views.ndim - 2
    merged = views.flatten(0, 1)[None]  # (1, M * C, *S): every view and channel is its own group
    taps = kernel.repeat_interleave(channels, 0)[:, None]
    convolve = F.conv2d if axes == 2 else F.conv3d
    for axis in range(axes):
        padding = [0, 0] * axes
        padding[2 * (axes - 1 - axis) : 2 * (axes - axis)] = [radius, radius]
        weight = taps.view(*taps.shape[:2], *[-1 if one == axis else 1 for one in range(axes)])
        merged = convolve(F.pad(merged, padding, mode="replicate"), weight, groups=len(taps))
    return merged[0].unflatten(0, views.shape[:2])
