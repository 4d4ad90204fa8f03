"""How fast SSAMBA's parts are on this machine: the scan, the tiny encoder, the filter bank.

Each figure is paired with what a user would otherwise run, in one process, in interleaved rounds:
- scan: the compiled implementation against the one without numba, the published per-step loop (all gains and inputs of
  all steps formed first, then one indexed step a token), mambapy's parallel scan (where `make bench-env` has put it)
  and our own plain definition; forward, and forward with backward;
- encoder: published tiny model, 512 patches, with the same two and with the per-step loop;
- filter bank: a batch at once against torchaudio's Kaldi function file by file.
Results are checked to be equal before anything is timed. The backward pass of the published loop is quadratic in length
(each indexed step has a gradient as large as the whole input); at 4096 tokens it takes minutes (`--patient`).

    python benchmarks/audio_speed.py [--threads 1] [--rounds 5] [--only scan encoder fbank] [--patient]
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from measuring import RESULTS, facts, interleaved, spread, write_result
from torch import Tensor

from repcore.interfaces import Batch
from repcore.nn.selective_scan import chunked, compiled
from repcore.nn.selective_scan import torch as plain
from repcore_audio.configs.ssamba import PUBLISHED_TINY
from repcore_audio.encoders.ssamba import Ssamba
from repcore_audio.preprocessors.log_mel import LogMel

try:
    from mambapy.pscan import pscan
except ImportError:
    pscan = None

NAME = "audio_speed"
CHANNELS, STATES = 384, 16  # of the tiny model
TINY_TOLERANCE = 1e-4  # largest relative difference between contenders that count as equal
OURS, WITHOUT_NUMBA = "ours (compiled)", "ours without numba (chunked)"
Contenders = Mapping[str, Callable[[], Any]]


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    parts = {"scan": scan_part, "encoder": encoder_part, "fbank": filter_bank_part}
    known = RESULTS / f"{NAME}.json"
    record = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else {}
    record |= facts(("repcore", "repcore-audio", "torch", "torchaudio", "mambapy")) | {
        "threads": arguments.threads,
        "unit": "ms",
    }
    for name in arguments.only:
        record[name] = parts[name](arguments)
        print(f"written: {write_result(NAME, record)}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=["scan", "encoder", "fbank"], choices=["scan", "encoder", "fbank"])
    parser.add_argument("--patient", action="store_true", help="also the quadratic backward pass at 4096 tokens")
    return parser.parse_args()


def race(contenders: Contenders, rounds: int) -> dict[str, dict[str, float]]:
    """Median, lowest and highest milliseconds of each, in interleaved rounds."""
    return {
        name: spread([1000 * one for one in seconds], 2) for name, seconds in interleaved(contenders, rounds).items()
    }


def show(title: str, figures: Mapping[str, Mapping[str, float]], ours: str) -> dict[str, Any]:
    """Print one race and return it with ratios to ours."""
    base = figures[ours]["median"]
    for name, one in figures.items():
        ratio = one["median"] / base
        span = f"{one['lowest']:.1f} to {one['highest']:.1f}"
        print(f"{title:34s} {name:24s} {one['median']:10.1f} ms  ({span})  {ratio:7.2f} x ours", flush=True)
    return {name: {**one, "times_ours": round(one["median"] / base, 2)} for name, one in figures.items()}


# ------------------------------------------------------------------------------------------------- scan


def published_loop(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor) -> Tensor:
    """The reference form on (B, D, L) inputs: everything for all steps first, then a loop that indexes it."""
    step = F.softplus(delta + bias[:, None])
    gain = torch.exp(torch.einsum("bdl,dn->bdln", step, A))
    push = torch.einsum("bdl,bnl,bdl->bdln", step, B, u)
    state, outputs = u.new_zeros(len(u), *A.shape), []
    for t in range(u.shape[2]):
        state = gain[:, :, t] * state + push[:, :, t]
        outputs.append(torch.einsum("bdn,bn->bd", state, C[:, :, t]))
    return torch.stack(outputs, dim=2) + u * D[:, None]


def only(outputs: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """Outputs without the last state, which is asked for nowhere here."""
    assert isinstance(outputs, Tensor)
    return outputs


def scan_inputs(items: int, tokens: int) -> list[Tensor]:
    """u, delta, A, B, C, D, bias for one scan in our layout, steps as a new model has them."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    wide, narrow = (1, items, tokens, CHANNELS), (1, items, tokens, STATES)
    rates = -torch.arange(1.0, STATES + 1).repeat(1, CHANNELS, 1)
    ones = torch.ones(1, CHANNELS)
    return [normal(*wide), normal(*wide), rates, normal(*narrow), normal(*narrow), ones, normal(1, CHANNELS) - 4]


def scan_part(arguments: argparse.Namespace) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for tokens in (512, 4096):
        for items in (1, 4):
            results |= scan_races(items, tokens, arguments)
    return results


def scan_races(items: int, tokens: int, arguments: argparse.Namespace) -> dict[str, Any]:
    given = scan_inputs(items, tokens)
    turned = [one[0].transpose(1, 2).contiguous() if one.ndim == 4 else one[0] for one in given]
    expected, got = (
        published_loop(*turned)[None].transpose(2, 3),
        ours(*given),
    )
    assert (got - expected).abs().max() < TINY_TOLERANCE * expected.abs().max()

    def without_numba(*x: Tensor) -> Tensor:
        return only(chunked.selective_scan(*x[:6], delta_bias=x[6]))

    def definition(*x: Tensor) -> Tensor:
        return only(plain.selective_scan(*x[:6], delta_bias=x[6]))

    functions: list[tuple[str, Callable[..., Tensor], list[Tensor]]] = [
        (OURS, ours, given),
        (WITHOUT_NUMBA, without_numba, given),
        ("published loop", published_loop, turned),
        ("our definition", definition, given),
    ]
    if pscan is not None:
        functions.append(("mambapy", parallel_scan, given))
        assert (parallel_scan(*given) - expected).abs().max() < TINY_TOLERANCE * expected.abs().max()
    rounds = arguments.rounds if tokens * items <= 4096 else 2
    name = f"{items} x {tokens} tokens"
    with torch.no_grad():
        forward = race({key: partial(f, *x) for key, f, x in functions}, rounds)
    results = {f"{name}, forward": show(f"{name}, forward", forward, OURS)}
    if tokens > 512 and not arguments.patient:
        functions = [one for one in functions if one[0] != "published loop"]
    heavy = 1 if tokens * items > 512 else 2
    both = race({key: partial(differentiated, f, x) for key, f, x in functions}, heavy)
    results[f"{name}, with backward"] = show(f"{name}, with backward", both, OURS)
    return results


def ours(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor) -> Tensor:
    """The implementation that is chosen on a CPU where numba is there."""
    return only(compiled.selective_scan(u, delta, A, B, C, D, delta_bias=bias))


def parallel_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor) -> Tensor:
    """The same by mambapy's parallel scan, as its Mamba block calls it."""
    step = F.softplus(delta[0] + bias[0])
    states = pscan(torch.exp(step[..., None] * A[0]), (step * u[0])[..., None] * B[0][:, :, None])
    return ((states @ C[0][..., None]).squeeze(-1) + D[0] * u[0])[None]


def differentiated(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    leaves = [one.detach().requires_grad_() for one in inputs]
    return torch.autograd.grad(function(*leaves).sum(), leaves)


# ---------------------------------------------------------------------------------------------- encoder


def encoder_part(arguments: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    batch = Batch(inputs={"spectrogram": 0.5 * torch.randn(1, 1024, 128)}, size=1)
    encoders = {}
    for name, choice in ((OURS, "compiled"), (WITHOUT_NUMBA, "chunked"), ("per-step loop", "torch")):
        os.environ["REPCORE_OPS"] = f"selective-scan={choice}"
        torch.manual_seed(1)
        encoders[name] = Ssamba(PUBLISHED_TINY).eval()
        with torch.no_grad():
            encoders[name](batch)  # the choice is made with the first call
    del os.environ["REPCORE_OPS"]
    with torch.no_grad():
        *faster, exact = (one(batch).pooled for one in encoders.values())
        for one in faster:
            assert (one - exact).abs().max() < TINY_TOLERANCE * exact.abs().max()
        forward = race({name: partial(e, batch) for name, e in encoders.items()}, arguments.rounds)

    def step(encoder: Ssamba) -> None:
        encoder.zero_grad()
        encoder(batch).pooled.sum().backward()

    both = race({name: partial(step, e) for name, e in encoders.items()}, max(1, arguments.rounds // 2))
    return {
        "1 clip, 512 patches, forward": show("tiny encoder, forward", forward, OURS),
        "1 clip, 512 patches, with backward": show("tiny encoder, with backward", both, OURS),
    }


# ------------------------------------------------------------------------------------------- filter bank


def filter_bank_part(arguments: argparse.Namespace) -> dict[str, Any]:
    import torchaudio.compliance.kaldi as kaldi

    bank, results = LogMel(), {}
    generator = torch.Generator().manual_seed(0)
    for name, seconds, clips in (("64 clips of 0.5 s", 0.5, 64), ("16 clips of 10 s", 10.0, 16)):
        waves = [0.1 * torch.randn(int(16_000 * seconds), generator=generator) for _ in range(clips)]

        def file_by_file(waves: Sequence[Tensor] = waves) -> list[Tensor]:
            return [
                kaldi.fbank(
                    one[None], htk_compat=True, sample_frequency=16_000, use_energy=False, window_type="hanning",
                    num_mel_bins=128, dither=0.0, frame_shift=10,
                )
                for one in waves
            ]  # fmt: skip

        pairs = zip(bank(waves), file_by_file(), strict=True)
        assert max(float((one - two).abs().max()) for one, two in pairs) < 2e-3  # the golden tolerance
        figures = race({"ours (batched)": partial(bank, waves), "file by file": file_by_file}, arguments.rounds)
        results[name] = show(f"filter bank, {name}", figures, "ours (batched)")
    return results


if __name__ == "__main__":
    main()
