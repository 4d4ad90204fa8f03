"""Alice written a second time, slowly: loops over windows, heads, samples and axes, one function a formula of the card.

Shares no code with the package. :mod:`tests.medical3d.slow_alice_folder` turns it into a small golden folder, so that
parity has teeth without the shared one. Names of weights are those of the published files.

Symbols: B crops (query first), E width of the stem, w window edge, K output width, F embedding width.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]
EDGE, E, HEADS, WINDOWS, RATIO = 32, 6, (1, 2, 3, 4), (4, 4, 2, 2), 2
WIDTHS, EDGES = tuple(E * 2**i for i in range(4)), tuple(EDGE // 2 ** (i + 1) for i in range(4))
K, HIDDEN, BOTTLENECK, CASA_HEADS, CASA_KEY, CASA_HIDDEN = 20, 28, 12, 4, 5, 36
PATCH, HIDE, EPSILON, CASA_EPSILON = 16, 0.5, 1e-5, 1e-6
STUDENT_TAU, TAU, EPOCHS, EPOCH, CENTRE, RECONSTRUCTION = 0.12, (0.02, 0.05, 10), 40, 4, 0.8, 3.0
CLIP, EMA, BASE, F_WIDTH = 0.03, 0.97, 2, 10
VOLUME, POINTS = (26, 41, 35), {"query": (7, 33, 12), "key": (19, 5, 30)}
SCAN, PLACES = (8, 32, 32), ((3, 20, 5), (25, 9, 2))
DOWN, UP = "backbone.model_down.", "backbone.decoder."


def norm(x: Tensor, w: Weights, name: str, epsilon: float = EPSILON) -> Tensor:
    """Layer norm over the last axis, by hand."""
    centred = x - x.mean(-1, keepdim=True)
    return (
        centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + epsilon) * w[name + ".weight"]
        + w[name + ".bias"]
    )


def linear(x: Tensor, w: Weights, name: str) -> Tensor:
    out = torch.einsum("...i,oi->...o", x, w[name + ".weight"])
    return out + w[name + ".bias"] if name + ".bias" in w else out


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def first(x: Tensor) -> Tensor:
    """Channels last -> channels first."""
    return x.permute(0, 4, 1, 2, 3)


def last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 4, 1)


def stem(w: Weights, p: str, x: Tensor) -> Tensor:
    """Four convolutions; the last is followed by the norm only. Channels last."""
    p += DOWN + "patch_embed."
    order = (("proj1.conv1", "proj1.norm1"), ("proj1.conv2", "proj1.norm2"), ("proj2.conv1", "proj2.norm1"))
    for number, (conv, after) in enumerate(order):
        x = F.conv3d(x, w[p + conv + ".weight"], w[p + conv + ".bias"], stride=2 if number == 0 else 1, padding=1)
        x = first(norm(last(gelu(x)), w, p + after))
    x = F.conv3d(x, w[p + "proj2.conv2.weight"], w[p + "proj2.conv2.bias"], padding=1)
    return norm(last(x), w, p + "norm")


def bias_row(window: int, one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Published entry of the bias table: the first axis has the factor 3w - 1."""
    offset = [a - b + window - 1 for a, b in zip(one, other, strict=True)]
    return offset[0] * (3 * window - 1) + offset[1] * (2 * window - 1) + offset[2]


def window_attention(
    queries: Tensor, keys: Tensor, values: Tensor, table: Tensor, *, window: int, shift: int
) -> Tensor:
    """(B, D, D, D, C) each; one window and one head at a time, places taken around the map's end by the shift."""
    edge, C, heads = queries.shape[1], queries.shape[-1], table.shape[1]
    inside = list(itertools.product(range(window), repeat=3))
    rows = torch.tensor([[bias_row(window, a, b) for b in inside] for a in inside])
    out = torch.zeros_like(queries)

    def region(place: int) -> int:
        return 0 if place < edge - window else 1 if place < edge - shift else 2

    for corner in itertools.product(range(0, edge, window), repeat=3):
        moved = [tuple(c + i for c, i in zip(corner, one, strict=True)) for one in inside]
        real = torch.tensor([[(m + shift) % edge for m in one] for one in moved])
        labels = [tuple(region(m) for m in one) for one in moved]
        apart = torch.tensor([[0.0 if a == b or not shift else -100.0 for b in labels] for a in labels])
        x, y, z = real.T
        for head in range(heads):
            part = slice(head * C // heads, (head + 1) * C // heads)
            q, k, v = (one[:, x, y, z, part] for one in (queries, keys, values))
            logits = torch.einsum("bnc,bmc->bnm", q, k) / math.sqrt(C // heads) + table[rows, head] + apart
            weight = torch.exp(logits - logits.max(-1, keepdim=True).values)
            mixed = torch.einsum("bnm,bmc->bnc", weight / weight.sum(-1, keepdim=True), v)
            out = out.index_put((torch.arange(len(out))[:, None], x, y, z), _at(mixed, part, C), accumulate=True)
    return out


def _at(values: Tensor, part: slice, width: int) -> Tensor:
    """Values in their channels, zeros in the others."""
    full = values.new_zeros(*values.shape[:-1], width)
    full[..., part] = values
    return full


def block(w: Weights, p: str, x: Tensor, stage: int, shift: int, skip: Tensor | None = None) -> Tensor:
    """With ``skip``: keys and values from it, queries the normed raised map itself, residual the sum of both."""
    table = w[p + "attn.relative_position_bias_table"]
    normed = norm(x, w, p + "norm1")
    if skip is None:
        q, k, v = linear(normed, w, p + "attn.qkv").chunk(3, -1)
    else:
        q, (k, v) = normed, linear(norm(skip, w, p + "norm1"), w, p + "attn.kv").chunk(2, -1)
        x = x + skip
    mixed = window_attention(q, k, v, table, window=min(WINDOWS[stage], EDGES[stage]), shift=shift)
    x = x + linear(mixed, w, p + "attn.proj")
    inner = gelu(linear(norm(x, w, p + "norm2"), w, p + "mlp.fc1"))
    return x + linear(inner, w, p + "mlp.fc2")


def shift_of(stage: int) -> int:
    return WINDOWS[stage] // 2 if WINDOWS[stage] < EDGES[stage] else 0


def network(w: Weights, p: str, x: Tensor, table: Tensor) -> dict[str, Tensor]:
    """All stored maps of one network; ``recon`` is the cube redrawn."""
    tokens = stem(w, p, x)
    out = {"patch_embed": first(tokens)}
    tokens = tokens + table.view(1, *[EDGES[0]] * 3, E)
    skips = []
    for i in range(4):
        level = f"{p}{DOWN}layers.{i}."
        for j in range(2):
            tokens = block(w, f"{level}blocks.{j}.", tokens, i, shift_of(i) if j else 0)
        skips.append(norm(tokens, w, f"{p}{DOWN}norm{i}"))
        out[f"skip{i}"] = first(skips[-1])
        if i < 3:
            d = level + "downsample."
            down = first(norm(gelu(tokens), w, d + "norm"))
            tokens = last(F.conv3d(down, w[d + "reduction.weight"], w[d + "reduction.bias"], stride=2, padding=1))
    out["cls"] = skips[-1].mean((1, 2, 3))
    tokens = skips[-1]
    for number, i in enumerate((2, 1, 0)):
        level = f"{p}{UP}layers.{i}."
        up = first(norm(tokens, w, level + "Upsample.norm"))
        raised = last(F.conv_transpose3d(up, w[level + "Upsample.up.weight"], w[level + "Upsample.up.bias"], stride=2))
        tokens = block(w, level + "blocks.0.", raised, i, 0, skips[i])
        tokens = block(w, level + "blocks.1.", tokens, i, shift_of(i))
        out[f"dec{number}"] = tokens
    f = p + "backbone.final.0.up."
    out["out.recon"] = F.conv_transpose3d(first(tokens), w[f + "weight"], w[f + "bias"], stride=2)
    return out


def head(w: Weights, p: str, maps: dict[str, Tensor], token_layer: str) -> dict[str, Tensor]:
    """Pooled vector, encoder tokens and decoder tokens through the trunk, one kind at a time."""

    def trunk(x: Tensor) -> Tensor:
        for number in (0, 2, 4):
            x = linear(x, w, f"{p}head.mlp.{number}")
            x = gelu(x) if number < 4 else x
        return x / x.square().sum(-1, keepdim=True).sqrt()

    def prototypes(x: Tensor, name: str) -> Tensor:
        rows = w[f"{p}head.{name}.weight_v"]
        return x @ (w[f"{p}head.{name}.weight_g"] * rows / rows.square().sum(1, keepdim=True).sqrt()).T

    encoder = last(maps["skip3"]).flatten(1, 3)
    decoder = maps["dec0"].permute(0, 2, 3, 1, 4).flatten(1, 3)  # the published head turns the axes of the map
    return {
        "out.cls": prototypes(trunk(maps["cls"]), "last_layer"),
        "out.en": prototypes(trunk(linear(encoder, w, p + "head.mlp3")), token_layer),
        "out.de": prototypes(trunk(linear(decoder, w, p + "head.mlp4")), token_layer),
    }


def casa(w: Weights, queries: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Result, attention and what the attention block gives before the feed-forward."""
    p = "casa.module.Cross_Att."
    a = p + "MH_attn."
    maps, mixed = [], []
    for number in range(CASA_HEADS):
        rows = slice(number * CASA_KEY, (number + 1) * CASA_KEY)
        q, k, v = (
            x @ w[f"{a}{name}.weight"][rows].T for x, name in ((queries, "w_qs"), (tokens, "w_ks"), (tokens, "w_vs"))
        )
        logits = q @ k.transpose(1, 2) / math.sqrt(CASA_KEY)
        maps.append(torch.exp(logits) / torch.exp(logits).sum(-1, keepdim=True))
        mixed.append(maps[-1] @ v)
    attended = norm(queries + linear(torch.cat(mixed, -1), w, a + "fc"), w, a + "layer_norm", CASA_EPSILON)
    inner = linear(linear(attended, w, p + "pos_ffn.w_1").clamp(min=0), w, p + "pos_ffn.w_2")
    return norm(attended + inner, w, p + "pos_ffn.layer_norm", CASA_EPSILON), torch.stack(maps, 1), attended


def cross_entropy(goal: Tensor, centre: Tensor, tau: float, outputs: Tensor) -> Tensor:
    """Mean over rows of -sum p log q."""
    rows = []
    for teacher, student in zip(goal.detach().reshape(-1, K), outputs.reshape(-1, K), strict=True):
        p = torch.softmax((teacher - centre.reshape(K)) / tau, 0)
        rows.append(-(p * torch.log_softmax(student / STUDENT_TAU, 0)).sum())
    return torch.stack(rows).mean()


def teacher_tau() -> float:
    """A line whose warm-up values run from start to end, one an epoch."""
    start, end, epochs = TAU
    return start + (end - start) * EPOCH / (epochs - 1)


def crop(volume: Tensor, point: tuple[int, ...]) -> Tensor:
    """The cube around a voxel, one voxel at a time along each axis; zeros outside."""
    out = torch.zeros(1, 1, EDGE, EDGE, EDGE)
    axes = [
        [(i, start + i) for i in range(EDGE) if 0 <= start + i < size]
        for start, size in zip([one - EDGE // 2 for one in point], volume.shape[2:], strict=True)
    ]
    for i, x in axes[0]:
        for j, y in axes[1]:
            for k, z in axes[2]:
                out[0, 0, i, j, k] = volume[0, 0, x, y, z]
    return out


def losses(w: Weights, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Everything of one step before the backward pass; fills ``outputs``."""
    cubes = torch.cat([crop(inputs[f"vol_{name}"], POINTS[name]) for name in ("query", "key")])
    outputs["crop.key"] = cubes[1:]
    hidden = torch.cat([inputs[f"mask_{name}"] for name in ("query", "key")])
    for axis in (2, 3, 4):
        hidden = hidden.repeat_interleave(2, axis)
    found = {}
    for p, name, given, layer in (
        ("student.module.", "student", cubes * (1 - hidden), "last_layer2"),
        ("teacher.", "teacher", cubes, "last_layer"),
    ):  # fmt: skip
        maps = network(w, p, given, inputs[f"pos_embed.{name}"])
        found[name] = {**maps, **head(w, p, maps, layer)}
        outputs |= {f"{name}.{key}": value for key, value in found[name].items()}
    del outputs["teacher.patch_embed"]
    s, t = found["student"], found["teacher"]
    own, attention, attended = casa(w, s["out.en"], s["out.de"])
    target, _, _ = casa(w, s["out.en"], t["out.de"])
    outputs |= {
        "casa.student": own, "casa.teacher": target, "casa.mha_student": attended,
        "casa.attn_student": attention[:1, :2],
    }  # fmt: skip
    tau = teacher_tau()
    terms = {
        "loss.cls": sum(cross_entropy(t["out.cls"][i], inputs["center"], tau, s["out.cls"][1 - i]) for i in (0, 1)) / 2,
        "loss.patch": sum(cross_entropy(target[i], inputs["center2"], tau, own[i]) for i in (0, 1)) / 2,
        "loss.recon": RECONSTRUCTION * (cubes - s["out.recon"]).square().mean(),
    }
    terms["loss.loss"] = terms["loss.cls"] + terms["loss.patch"] + terms["loss.recon"]
    outputs |= {name: torch.as_tensor(value).view(1) for name, value in terms.items()}
    outputs["teacher_temp"] = torch.tensor([tau])
    outputs["center.new"] = CENTRE * inputs["center"] + (1 - CENTRE) * t["out.cls"].mean(0, keepdim=True)
    outputs["center2.new"] = CENTRE * inputs["center2"] + (1 - CENTRE) * target.mean((0, 1)).view(1, 1, K)
    return outputs


def gradients(w: Weights, loss: Tensor, outputs: dict[str, Tensor]) -> dict[str, float]:
    """Norm of every gradient; three of them, raw and clipped, go into ``outputs``."""
    names = [name for name, one in w.items() if one.requires_grad]
    found = torch.autograd.grad(loss, [w[name] for name in names], allow_unused=True)
    kept = {name: one for name, one in zip(names, found, strict=True) if one is not None}
    conv = "student.module.backbone.model_down.patch_embed.proj1.conv1.weight"
    outputs["grad.casa.w_qs"] = kept["casa.module.Cross_Att.MH_attn.w_qs.weight"]
    for name, short in ((conv, "student.patch_embed.conv1.weight"),):
        outputs[f"grad.{short}"] = kept[name]
        outputs[f"grad_clipped.{short}"] = clipped(kept[name])
    outputs["grad_clipped.recon_head.weight"] = clipped(kept["student.module.backbone.final.0.up.weight"])
    return {name: float(one.square().sum().sqrt()) for name, one in kept.items()}


def clipped(gradient: Tensor) -> Tensor:
    return gradient * min(1.0, CLIP / (float(gradient.square().sum().sqrt()) + 1e-6))


def averaged(w: Weights, outputs: dict[str, Tensor]) -> None:
    """Two teacher tensors after a step; the tied layer follows the student's layer of pooled vectors."""
    for name in ("head.last_layer.weight_v", "backbone.model_down.layers.1.blocks.1.attn.qkv.weight"):
        mean = EMA * w[f"teacher.{name}"] + (1 - EMA) * w[f"student.module.{name}"]
        outputs[f"ema.{name.removeprefix('backbone.')}"] = mean


def anatomy(w: Weights, x: Tensor) -> dict[str, Tensor]:
    """Second and fourth stage, fine and coarse unit vectors of a scan (1, 1, Z, Y, X)."""

    def conv_norm(x: Tensor, name: str, stride: tuple[int, ...], padding: tuple[int, ...]) -> Tensor:
        x = F.conv3d(x, w[f"{name}.conv.weight"], stride=stride, padding=padding)
        mean, var, scale, bias = (
            w[f"{name}.bn.{key}"].view(1, -1, 1, 1, 1) for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * scale + bias

    def plain(x: Tensor, name: str) -> Tensor:
        weight = w[f"sam.{name}.conv.weight"]
        return F.conv3d(x, weight, w[f"sam.{name}.conv.bias"], padding=weight.shape[2] // 2)

    def unit(x: Tensor) -> Tensor:
        return x / x.square().sum(1, keepdim=True).sqrt()

    x = conv_norm(x, "sam.backbone.conv1", (1, 1, 1), (1, 3, 3)).clamp(min=0)
    stages = []
    for number, depth in enumerate((0, 0, 1, 1)):
        for j in range(2):
            b = f"sam.backbone.layer{number + 1}.{j}."
            stride = ((2 if number == 3 else 1, 2, 2)) if j == 0 else (1, 1, 1)
            inner = conv_norm(x, b + "conv1", stride, (depth, 1, 1)).clamp(min=0)
            inner = conv_norm(inner, b + "conv2", (1, 1, 1), (depth, 1, 1))
            x = (inner + (conv_norm(x, b + "downsample", stride, (0, 0, 0)) if j == 0 else x)).clamp(min=0)
        if number == 0:
            x = torch.maximum(x[:, :, ::2], x[:, :, 1::2])
        stages.append(x)
    raised = plain(stages[2], "neck.lateral_convs.2")
    for number in (1, 0):
        for axis in (3, 4):
            raised = raised.repeat_interleave(2, axis)
        raised = raised + plain(stages[number], f"neck.lateral_convs.{number}")
    coarse = plain(plain(stages[3], "read_out_head.lateral_convs.0"), "read_out_head.fpn_convs.0")
    return {
        "stage1": stages[1], "stage3": stages[3], "coarse": unit(coarse),
        "fine": unit(plain(raised, "neck.fpn_convs.0")),
    }  # fmt: skip


def matched(w: Weights, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
    """Where the points of A lie in B: one point and one cell at a time, best of the mean similarity."""
    a, b = anatomy(w, inputs["sam.query"]), anatomy(w, inputs["sam.key"])
    outputs |= {
        "sam.stage1": a["stage1"], "sam.stage3": a["stage3"], "sam.fine_query": a["fine"],
        "sam.coarse_query": a["coarse"], "sam.coarse_key": b["coarse"],
    }  # fmt: skip
    size = a["fine"].shape[2:]
    wide = [F.interpolate(one["coarse"], size=size, mode="trilinear", align_corners=False) for one in (a, b)]
    wide_a, wide_b = (one / one.square().sum(1, keepdim=True).sqrt() for one in wide)
    maps, scores, places = [], [], []
    for x, y, z in inputs["sam.points_xyz"].tolist():
        k, j, i = z // 2, y // 2, x // 2
        fine = torch.einsum("c,czyx->zyx", a["fine"][0][:, k, j, i], b["fine"][0])
        coarse = torch.einsum("c,czyx->zyx", wide_a[0][:, k, j, i], wide_b[0])
        maps.append((fine + coarse) / 2)
        best = np.unravel_index(int(maps[-1].argmax()), tuple(size))
        scores.append(maps[-1].max())
        places.append([2 * int(one) + 0.5 for one in best[::-1]])
    outputs["sam.sim"], outputs["sam.match_score"] = torch.stack(maps), torch.stack(scores)
    outputs["sam.match_xyz"] = torch.tensor(places, dtype=torch.float32)


def schedule(start: float, end: float, epochs: int, each: int, warm: int) -> Tensor:
    """A line from 0 over the warm-up, then half a cosine."""
    rest = (epochs - warm) * each
    values = list(np.linspace(0.0, start, warm * each)) if warm else []
    values += [end + 0.5 * (start - end) * (1 + math.cos(math.pi * i / rest)) for i in range(rest)]
    return torch.tensor(values, dtype=torch.float32)
