"""SSAMBA written a second time, slowly: flips, loops over time and clips, float64, one function a formula of the card.

Shares no code with the package. :func:`write_golden_folder` turns it into a small golden folder, so that parity has
teeth without the shared one. Names of weights are those of the published files.

Symbols: B clips, L tokens, E width, D inner channels, N states, F x T patch grid.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

Weights = dict[str, Tensor]
EPSILON = 1e-5
WIDTH, STATES, RANK, TAPS, DEPTH = 8, 4, 1, 4, 4
PATCH, MEL, FRAMES, MASKED = 8, 32, 40, 6
INNER = 2 * WIDTH


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + EPSILON) * weight + bias


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + EPSILON) * weight


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def scan(x: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Ungated outputs (B, D, L) and the last state; u and delta are (B, D, L), B and C are (B, N, L)."""
    step = torch.log1p(torch.exp(x["delta"] + x["delta_bias"][:, None]))
    state = torch.zeros(*x["u"].shape[:2], x["A"].shape[1], dtype=x["u"].dtype)
    outputs = []
    for t in range(x["u"].shape[2]):
        push = step[:, :, t, None] * x["B"][:, None, :, t] * x["u"][:, :, t, None]
        state = torch.exp(step[:, :, t, None] * x["A"]) * state + push
        outputs.append((state * x["C"][:, None, :, t]).sum(-1) + x["D"] * x["u"][:, :, t])
    return torch.stack(outputs, dim=2), state


def direction(w: Weights, suffix: str, channels: Tensor, gate: Tensor) -> dict[str, Tensor]:
    """One direction over channels (B, D, L) in its own time order."""
    a_log, skip = ("A_log", "D") if not suffix else ("A_b_log", "D_b")
    padded = F.pad(channels, (TAPS - 1, 0))
    taps = w[f"conv1d{suffix}.weight"][:, 0]
    mixed = sum(taps[:, k, None] * padded[:, :, k : k + channels.shape[2]] for k in range(TAPS))
    conv = silu(mixed + w[f"conv1d{suffix}.bias"][:, None])
    projected = torch.einsum("bdl,od->blo", conv, w[f"x_proj{suffix}.weight"])
    rank = w[f"dt_proj{suffix}.weight"].shape[1]
    states = (projected.shape[2] - rank) // 2
    delta = torch.einsum("blr,dr->bdl", projected[..., :rank], w[f"dt_proj{suffix}.weight"])
    read = projected.transpose(1, 2)
    out, last = scan(
        {
            "u": conv, "delta": delta, "A": -torch.exp(w[a_log]), "B": read[:, rank : rank + states],
            "C": read[:, rank + states :], "D": w[skip], "delta_bias": w[f"dt_proj{suffix}.bias"],
        }
    )  # fmt: skip
    return {"conv": conv, "x_dbl": projected, "delta_raw": delta, "out_z": out * silu(gate), "last_state": last}


def mixer(w: Weights, hidden: Tensor, scale: float = 0.5) -> tuple[Tensor, dict[str, dict[str, Tensor]]]:
    """Output (B, L, E) and inner tensors by direction."""
    both = torch.einsum("ble,oe->bol", hidden, w["in_proj.weight"])
    channels, gate = both[:, : both.shape[1] // 2], both[:, both.shape[1] // 2 :]
    forward = direction(w, "", channels, gate)
    backward = direction(w, "_b", channels.flip(2), gate.flip(2))
    joined = (forward["out_z"] + backward["out_z"].flip(2)) * scale
    return torch.einsum("bdl,ed->ble", joined, w["out_proj.weight"]), {"fwd": forward, "bwd": backward}


def below(w: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): value for name, value in w.items() if name.startswith(prefix)}


def block(w: Weights, hidden: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
    joined = hidden if residual is None else residual + hidden
    return mixer(below(w, "mixer."), layer_norm(joined, w["norm.weight"], w["norm.bias"]))[0], joined


def stack(w: Weights, tokens: Tensor, wiring: str) -> tuple[dict[str, Tensor], Tensor]:
    """Raw layer outputs, and the state before the final norm."""
    seen: dict[str, Tensor] = {}
    hidden, residual = tokens, None
    for number in range(0, DEPTH, 2 if wiring == "paired" else 1):
        out, left = block(below(w, f"layers.{number}."), hidden, residual)
        seen |= {f"layer{number}.hidden": out, f"layer{number}.residual": left}
        if wiring == "paired":
            turned = None if residual is None else residual.flip(1)
            out_b, left_b = block(below(w, f"layers.{number + 1}."), hidden.flip(1), turned)
            seen |= {f"layer{number + 1}.hidden": out_b, f"layer{number + 1}.residual": left_b}
            out, left = out + out_b.flip(1), left + left_b.flip(1)
        hidden, residual = out, left
    assert residual is not None
    return seen, residual + hidden


def patches(x: Tensor, stride: int = PATCH) -> Tensor:
    """(B, frames, mel) to (B, P, 64), frequency slow."""
    rows, columns = (x.shape[2] - PATCH) // stride + 1, (x.shape[1] - PATCH) // stride + 1
    image = x.transpose(1, 2)
    cut = [
        image[:, f * stride : f * stride + PATCH, t * stride : t * stride + PATCH].reshape(len(x), -1)
        for f in range(rows)
        for t in range(columns)
    ]
    return torch.stack(cut, dim=1)


def embed(w: Weights, x: Tensor, stride: int = PATCH) -> Tensor:
    kernel = w["patch_embed.proj.weight"].reshape(WIDTH, -1)
    return patches(x, stride) @ kernel.T + w["patch_embed.proj.bias"]


def with_positions(w: Weights, embedded: Tensor, table: Tensor) -> Tensor:
    return torch.cat([w["cls_token"].expand(len(embedded), 1, -1), embedded], dim=1) + table


def norms(w: Weights, before: Tensor) -> tuple[Tensor, Tensor]:
    once = layer_norm(before, w["norm_f.weight"], w["norm_f.bias"])
    return once, layer_norm(once, w["norm_f.weight"], w["norm_f.bias"])


def head(w: Weights, name: str, rows: Tensor) -> Tensor:
    hidden = torch.relu(rows @ w[f"{name}.0.weight"].T + w[f"{name}.0.bias"])
    return hidden @ w[f"{name}.2.weight"].T + w[f"{name}.2.bias"]


def masked_pass(w: Weights, x: Tensor, index: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Inner tensors and the tokens after two norms, with hidden patches replaced clip by clip."""
    v = below(w, "v.")
    rows = []
    for clip, hidden in zip(embed(v, x), index.tolist(), strict=True):
        rows.append(torch.stack([w["mask_embed"][0, 0] if p in hidden else one for p, one in enumerate(clip)]))
    tokens = with_positions(v, torch.stack(rows), v["pos_embed"])
    seen, before = stack(v, tokens, "paired")
    once, twice = norms(v, before)
    return {"tokens_in": tokens, **seen, "pre_norm_f": before, "norm_f_once": once, "norm_f_twice": twice}, twice


def chosen(rows: Tensor, index: Tensor) -> Tensor:
    return torch.stack([clip[one] for clip, one in zip(rows, index, strict=True)])


def contrast(logits: Tensor, axis: int) -> tuple[Tensor, float]:
    total, right = torch.zeros((), dtype=logits.dtype), 0
    for table in logits:
        logs = table - torch.logsumexp(table, dim=axis, keepdim=True)
        total = total - logs.diagonal().sum()
        right += int((logs.argmax(0) == torch.arange(len(logs))).sum())
    return total / logits.shape[0] / logits.shape[1], right / logits.shape[0] / logits.shape[1]


# --------------------------------------------------------------------------------------------- front end


def filter_bank(wave: np.ndarray, rate: int = 16_000, bins: int = 128) -> np.ndarray:
    """Kaldi's log-mel energies, one frame at a time."""
    length, shift, size = rate * 25 // 1000, rate // 100, 512
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - 1))
    mel = lambda hertz: 1127.0 * np.log(1 + hertz / 700.0)  # noqa: E731
    edges = np.linspace(mel(20.0), mel(rate / 2), bins + 2)
    place = mel(np.arange(size // 2) * rate / size)
    rising = (place - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - place) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    rows = []
    for first in range(0, len(wave) - length + 1, shift):
        frame = wave[first : first + length] - wave[first : first + length].mean()
        frame = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
        power = np.abs(np.fft.rfft(frame * window, size)[:-1]) ** 2
        rows.append(np.log(np.maximum(filters @ power, np.finfo(np.float32).eps)))
    return np.array(rows)


def fitted(raw: np.ndarray, frames: int) -> np.ndarray:
    return np.concatenate([raw[:frames], np.zeros((max(0, frames - len(raw)), raw.shape[1]))])


# ------------------------------------------------------------------------------------------ golden folder


class _Folder:
    """Collects tensors of a golden folder."""

    def __init__(self) -> None:
        self.source = torch.Generator().manual_seed(7)
        self.weights: Weights = {}
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(*shape, generator=self.source, dtype=torch.float64)

    def layer(self, prefix: str, width: int, states: int, rank: int) -> None:
        inner = 2 * width
        self.weights[f"{prefix}norm.weight"] = 1 + self.normal(width, scale=0.2)
        self.weights[f"{prefix}norm.bias"] = self.normal(width, scale=0.1)
        m = f"{prefix}mixer."
        self.weights[f"{m}in_proj.weight"] = self.normal(2 * inner, width, scale=0.4)
        self.weights[f"{m}out_proj.weight"] = self.normal(width, inner, scale=0.4)
        for suffix, a_log, skip in (("", "A_log", "D"), ("_b", "A_b_log", "D_b")):
            self.weights[f"{m}{a_log}"] = self.normal(inner, states, scale=0.5)
            self.weights[f"{m}{skip}"] = 1 + self.normal(inner, scale=0.3)
            self.weights[f"{m}conv1d{suffix}.weight"] = self.normal(inner, 1, TAPS, scale=0.4)
            self.weights[f"{m}conv1d{suffix}.bias"] = self.normal(inner, scale=0.2)
            self.weights[f"{m}x_proj{suffix}.weight"] = self.normal(rank + 2 * states, inner, scale=0.4)
            self.weights[f"{m}dt_proj{suffix}.weight"] = self.normal(inner, rank, scale=0.5)
            self.weights[f"{m}dt_proj{suffix}.bias"] = self.normal(inner, scale=0.5) - 2


def write_golden_folder(folder: Path) -> Path:
    """A complete golden folder of format 1, with every stage of the system."""
    made = _Folder()
    _scans(made)
    _blocks(made)
    _model(made)
    _front_end(made)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("weights", "inputs", "outputs"):
        tensors = {key: _stored(value) for key, value in getattr(made, name).items()}
        save_file(tensors, folder / f"{name}.safetensors")
    manifest = {"format": 1, "system": "audio/ssamba", "reference": {}, "config": CONFIG, "stages": STAGES}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def _stored(value: Tensor) -> Tensor:
    value = value.detach()
    return (value.float() if value.is_floating_point() else value).contiguous().clone()


def _scans(made: _Folder) -> None:
    shapes = {
        "u": (2, 3, 9),
        "delta": (2, 3, 9),
        "z": (2, 3, 9),
        "B": (2, 4, 9),
        "C": (2, 4, 9),
        "D": (3,),
        "delta_bias": (3,),
    }
    x = {name: made.normal(*shape).float().double() for name, shape in shapes.items()}
    x["A"] = -torch.exp(made.normal(3, 4)).float().double()
    weight = made.normal(2, 3, 9).float().double()
    stiff = (made.normal(2, 3, 9).abs() * 8 + 4).float().double()
    made.inputs |= {f"scan.{name}": value for name, value in x.items()}
    made.inputs |= {"scan.grad_out": weight, "scan.stiff.delta": stiff}
    out, last = scan(x)
    turned = {name: value.flip(2) if value.ndim == 3 else value for name, value in x.items()}
    made.outputs |= {"scan.out_no_z": out, "scan.out_z": out * silu(x["z"]), "scan.last_state": last}
    made.outputs["scan.reverse.out_z"] = (scan(turned)[0] * silu(turned["z"])).flip(2)
    for prefix, change in (("scan.", {}), ("scan.stiff.", {"delta": stiff})):
        leaves = {name: value.clone().requires_grad_() for name, value in {**x, **change}.items()}
        gated = scan(leaves)[0] * silu(leaves["z"])
        made.outputs[f"{prefix}out_z"] = gated.detach()
        (gated * weight).sum().backward()
        made.outputs |= {f"{prefix}grad.{name}": leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


def _blocks(made: _Folder) -> None:
    made.layer("block.", 6, 4, 2)
    w = {name: value.float().double().requires_grad_() for name, value in below(made.weights, "block.").items()}
    made.weights |= {f"block.{name}": value.detach() for name, value in w.items()}
    given = {
        name: made.normal(2, 7, 6).float().double()
        for name in ("hidden_states", "residual", "grad_hidden", "grad_residual")
    }
    made.inputs |= {f"block.{name}": value for name, value in given.items()}
    hidden, residual = given["hidden_states"].clone().requires_grad_(), given["residual"].clone().requires_grad_()
    out, joined = block(w, hidden, residual)
    ((out * given["grad_hidden"]).sum() + (joined * given["grad_residual"]).sum()).backward()
    gradients = {"hidden_states": hidden.grad, "residual": residual.grad, **{name: one.grad for name, one in w.items()}}
    made.outputs |= {f"block.grad.{name}": value for name, value in gradients.items() if value is not None}
    made.outputs |= {"block.out_hidden": out, "block.out_residual": joined}
    normed = layer_norm(joined, w["norm.weight"], w["norm.bias"])
    for name, inner in mixer(below(w, "mixer."), normed)[1].items():
        made.outputs |= {f"block.{name}.{key}": value for key, value in inner.items()}
    made.outputs["block.first_layer.out_hidden"] = block(w, hidden, None)[0]
    made.outputs["block.first_layer.out_residual"] = hidden
    made.outputs["block.no_divide.out_hidden"] = mixer(below(w, "mixer."), normed, 1.0)[0]
    made.outputs["block.rmsnorm.out_hidden"] = mixer(below(w, "mixer."), rms_norm(joined, w["norm.weight"]))[0]
    made.outputs["block.rmsnorm.out_residual"] = joined


def _model(made: _Folder) -> None:
    rows, columns = MEL // PATCH, FRAMES // PATCH
    for number in range(DEPTH):
        made.layer(f"module.v.layers.{number}.", WIDTH, STATES, RANK)
    pixels = PATCH * PATCH
    shapes = {
        "mask_embed": (1, 1, WIDTH), "v.cls_token": (1, 1, WIDTH), "v.pos_embed": (1, 1 + rows * columns, WIDTH),
        "v.patch_embed.proj.weight": (WIDTH, 1, PATCH, PATCH), "v.patch_embed.proj.bias": (WIDTH,),
        "v.norm_f.weight": (WIDTH,), "v.norm_f.bias": (WIDTH,), "v.head.weight": (5, WIDTH), "v.head.bias": (5,),
    }  # fmt: skip
    for name in ("cpredlayer", "gpredlayer"):
        shapes |= {
            f"{name}.0.weight": (WIDTH, WIDTH),
            f"{name}.0.bias": (WIDTH,),
            f"{name}.2.weight": (pixels, WIDTH),
            f"{name}.2.bias": (pixels,),
        }
    made.weights |= {f"module.{name}": made.normal(*shape, scale=0.4) for name, shape in shapes.items()}
    made.weights |= {
        f"{one}.module.mlp_head.{name}": made.normal(*shape) for one in ("ftA", "ftB") for name, shape in HEAD.items()
    }
    made.weights = {name: value.float().double() for name, value in made.weights.items()}
    w = {name: value.clone().requires_grad_() for name, value in below(made.weights, "module.").items()}
    made.weights |= {"module.p_input_fdim": torch.tensor(MEL), "module.p_input_tdim": torch.tensor(FRAMES)}
    x = (made.normal(2, FRAMES, MEL, scale=0.5).float().double()).requires_grad_()
    index = {
        name: torch.stack([torch.randperm(rows * columns, generator=made.source)[:MASKED] for _ in range(2)])
        for name in ("mpc", "mpg")
    }
    made.inputs |= {"pretrain.x": x, **{f"pretrain.mask_index_{name}": one for name, one in index.items()}}
    _pretraining(made, w, x, index)
    _features_and_finetuning(made, below(w, "v."), x)


def _pretraining(made: _Folder, w: Weights, x: Tensor, index: dict[str, Tensor]) -> None:
    out = made.outputs
    out |= {"pretrain.patches": patches(x), "pretrain.patch_embed": embed(below(w, "v."), x)}
    seen, tokens = masked_pass(w, x, index["mpc"])
    out |= {f"pretrain.mpc.{name}": value for name, value in seen.items()}
    predicted = head(w, "cpredlayer", chosen(tokens[:, 1:], index["mpc"]))
    logits = torch.stack([k @ q.T for k, q in zip(chosen(patches(x), index["mpc"]).detach(), predicted, strict=True)])
    (nce, accuracy), (paper, paper_accuracy) = contrast(logits, 1), contrast(logits, 0)
    out |= {"pretrain.mpc.pred": predicted, "pretrain.mpc.logits": logits, "pretrain.mpc.nce": nce}
    out |= {"pretrain.mpc.nce_paper_eq1": paper, "pretrain.mpc.acc": torch.tensor(accuracy)}
    out["pretrain.mpc.acc_paper_eq1"] = torch.tensor(paper_accuracy)
    _, tokens = masked_pass(w, x, index["mpg"])
    redrawn = head(w, "gpredlayer", chosen(tokens[:, 1:], index["mpg"]))
    mse = (redrawn - chosen(patches(x), index["mpg"])).square().mean()
    joint = nce + 10 * mse
    out |= {
        "pretrain.mpg.norm_f_twice": tokens,
        "pretrain.mpg.pred": redrawn,
        "pretrain.mpg.mse": mse,
        "pretrain.joint": joint,
    }
    joint.backward()
    out["pretrain.grad.x"] = torch.as_tensor(x.grad)
    # A constant added to every prediction moves all logits of a target alike, which a softmax over predictions does not
    # see: that gradient is exactly 0 and its float32 value is noise, so it cannot be compared.
    out |= {f"pretrain.grad.{n}": p.grad for n, p in w.items() if p.grad is not None and n != "cpredlayer.2.bias"}


def _features_and_finetuning(made: _Folder, v: Weights, x: Tensor) -> None:
    out = made.outputs
    for wiring in ("paired", "sequential"):
        once, twice = norms(v, stack(v, with_positions(v, embed(v, x), v["pos_embed"]), wiring)[1])
        out |= {f"features.{wiring}.norm_f_once": once, f"features.{wiring}.norm_f_twice": twice}
    for name, settings in CONFIG["finetune"].items():
        if not isinstance(settings, dict):
            continue
        stride, frames = settings["stride_time"], settings["frames"]
        clip = made.normal(2, frames, MEL, scale=0.5).float().double()
        made.inputs[f"{name}.x"] = clip
        rows, columns = (MEL - PATCH) // stride + 1, (frames - PATCH) // stride + 1
        grid = v["pos_embed"][0, 1:].reshape(MEL // PATCH, FRAMES // PATCH, WIDTH)
        if columns < grid.shape[1]:
            first = grid.shape[1] // 2 - columns // 2
            grid = grid[:, first : first + columns]
        grid = F.interpolate(grid.permute(2, 0, 1)[None], size=(rows, columns), mode="bilinear", align_corners=False)[0]
        table = torch.cat([v["pos_embed"][:, :1], grid.flatten(1).T[None]], dim=1)
        tokens = norms(v, stack(v, with_positions(v, embed(v, clip, stride), table), "paired")[1])[1]
        out |= {
            f"{name}.pos_embed": table,
            f"{name}.tokens_norm_f_twice": tokens,
            f"{name}.n_tokens": torch.tensor(tokens.shape[1]),
        }
        for pooling, pooled in (("avgtok", tokens[:, 1:].mean(1)), ("cls", tokens[:, 0])):
            m = below(made.weights, f"{name}.module.mlp_head.")
            normed = layer_norm(pooled, m["0.weight"], m["0.bias"])
            out |= {
                f"{name}.pooled_{pooling}": pooled,
                f"{name}.logits_{pooling}": normed @ m["1.weight"].T + m["1.bias"],
            }


def _front_end(made: _Folder) -> None:
    facts = CONFIG["fbank"]
    wave, other = (made.normal(1, n, scale=0.2).float() for n in (facts["samples"], 1500))
    made.inputs |= {"fbank.waveform": wave, "fbank.mixup.waveform2": other, "fbank.mixup.lambda": torch.tensor(0.3)}
    first, second = wave[0].double().numpy(), other[0].double().numpy()
    raw = filter_bank(first - first.mean())
    tensors = {"raw": raw}
    for name, frames in facts["target_length"].items():
        tensors[f"{name}.padcut"] = fitted(raw, frames)
        for key, figures in facts["statistics"].items():
            tensors[f"{name}.norm_{key}"] = (fitted(raw, frames) - figures["mean"]) / (2 * figures["std"])
    figures = facts["statistics"]["audioset"]
    tensors["superb_variant"] = fitted(
        (filter_bank(first) - figures["mean"]) / (2 * figures["std"]), facts["target_length"]["a"]
    )
    padded = np.zeros_like(first)
    padded[: len(second)] = second - second.mean()
    share = float(np.float32(0.3))
    mixed = share * (first - first.mean()) + (1 - share) * padded
    tensors["mixup.raw"] = filter_bank(mixed - mixed.mean())
    made.outputs |= {f"fbank.{name}": torch.from_numpy(value) for name, value in tensors.items()}
    source, draws = random.Random(3), []
    for _ in range(2):
        side, found = source.randrange(3) + 3, []
        while len(set(found)) <= 9:
            start = source.randrange(32)
            found += [start + 8 * i + j for i in range(side) for j in range(side) if 0 < start + 8 * i + j < 32]
        draws.append(torch.tensor(list(set(found))[:9]))
    made.outputs |= {f"mask.sampler{number}": one for number, one in enumerate(draws)}


HEAD = {"0.weight": (WIDTH,), "0.bias": (WIDTH,), "1.weight": (5, WIDTH), "1.bias": (5,)}
FINE_TUNING = {"batch": 2, "frames": 24, "mel_bins": MEL, "classes": 5, "head_norm_epsilon": EPSILON}
CONFIG: dict[str, Any] = {
    "block": {
        "width": 6, "states": 4, "expansion": 2, "convolution_width": TAPS, "step_rank": 2, "direction_scale": 0.5,
        "norm_epsilon": EPSILON, "rms_norm_variant_epsilon": EPSILON, "no_divide_variant_direction_scale": 1.0,
    },
    "model": {"norm_epsilon": EPSILON, "direction_scale": 0.5, "wiring": "paired", "final_norm_applications": 2},
    "pretrain": {
        "masked_patches": MASKED, "temperature": 1.0, "nce_softmax_over": "predictions", "reconstruction_weight": 10.0,
        "targets_stored": True,
    },
    "features": {"wirings": ["paired", "sequential"]},
    "finetune": {
        "poolings": ["avgtok", "cls"],
        "ftA": {"stride_frequency": 4, "stride_time": 4, **FINE_TUNING},
        "ftB": {"stride_frequency": 8, "stride_time": 8, **FINE_TUNING},
    },
    "fbank": {
        "sample_rate": 16_000, "samples": 4000, "mel_bins": 128, "frame_length_ms": 25.0, "frame_shift_ms": 10.0,
        "target_length": {"a": 30, "b": 20},
        "statistics": {"audioset": {"mean": -4.2677393, "std": 4.5689974}, "other": {"mean": -6.5, "std": 5.0}},
        "superb_variant": {"statistics": "audioset", "normalise_before_padding": True, "target_length": 30},
    },
    "mask": {"patches": 32, "patches_time": 8, "masked_patches": 9, "python_random_seed": 3, "draws": 2},
}  # fmt: skip


def _stage(name: str, outputs: list[str], tolerance: float = 2e-5, kind: str = "relative_to_max") -> dict[str, Any]:
    compare = {"kind": kind} if kind == "exact" else {"kind": kind, "tolerance": tolerance}
    return {"name": name, "outputs": outputs, "compare": compare, "note": ""}


STAGES = [
    _stage("scan", ["scan.out_z", "scan.out_no_z", "scan.last_state", "scan.reverse.out_z"], 1e-5),
    _stage("scan_gradients", ["scan.grad.*"], 5e-5),
    _stage("scan_stiff", ["scan.stiff.out_z"], 1e-5),
    _stage("scan_stiff_gradients", ["scan.stiff.grad.*"], 5e-5),
    _stage("block", ["block.out_hidden", "block.out_residual"], 1e-5),
    _stage("block_directions", ["block.fwd.*", "block.bwd.*"], 1e-5),
    _stage("block_variants", ["block.first_layer.*", "block.no_divide.*", "block.rmsnorm.*"], 1e-5),
    _stage("block_gradients", ["block.grad.*"], 5e-5),
    _stage("patching", ["pretrain.patch*"], 1e-6),
    _stage("mpc_features", [f"pretrain.mpc.{x}" for x in ("tok*", "layer*", "pre_*", "norm_*", "pred", "logits")]),
    _stage("mpc_losses", ["pretrain.mpc.nce", "pretrain.mpc.nce_paper_eq1"], 1e-5),
    _stage("mpc_accuracy", ["pretrain.mpc.acc", "pretrain.mpc.acc_paper_eq1"], kind="exact"),
    _stage("mpg_features", ["pretrain.mpg.norm_f_twice", "pretrain.mpg.pred"]),
    _stage("mpg_loss", ["pretrain.mpg.mse"], 1e-5),
    _stage("joint_loss", ["pretrain.joint"], 1e-5),
    _stage("pretrain_gradients", ["pretrain.grad.*"], 2e-4),
    _stage("features", ["features.*"]),
    _stage("finetune", ["ft?.pos_embed", "ft?.tokens_norm_f_twice", "ft?.pooled_*", "ft?.logits_*"]),
    _stage("finetune_token_counts", ["ft?.n_tokens"], kind="exact"),
    _stage("fbank", ["fbank.*"], 2e-3, "absolute"),
    _stage("legacy_mask_draws", ["mask.sampler*"], kind="exact"),
]  # fmt: skip
