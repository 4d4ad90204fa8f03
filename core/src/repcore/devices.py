"""Where torch computes: a device by its word, refused in words where this machine has none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repcore.errors import ConfigError

if TYPE_CHECKING:
    import torch

KINDS = ("cpu", "cuda", "mps")
MISSING = re.compile(r"operator '(?P<op>[^']+)' is not currently implemented for the (?P<device>\w+) device")
NO_FLOAT64 = "MPS framework doesn't support float64"


def torch_device(word: str | torch.device, asked: str = "--device") -> str:
    """A torch device from a word: ``auto`` (cuda where there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    ``auto`` never means mps, the GPUs of Apple: torch lacks operators there that some networks need.

    Args:
        asked: how the user named it, for the message.

    Raises:
        ConfigError: an unknown word, or a device that this machine does not have; names those that it has.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    text = str(word)
    if text == "auto":
        return "cuda" if count else "cpu"
    kind, sign, number = text.partition(":")
    if kind not in KINDS or (sign and not number.isdecimal()):
        raise ConfigError(f"{asked} {text!r} is unknown", expected="auto, cpu, cuda, cuda:NUMBER, or mps")
    has_mps = torch.backends.mps.is_available()
    there = ", ".join(["cpu", *(f"cuda:{place}" for place in range(count)), *(["mps"] if has_mps else [])])
    if kind == "mps" and (not has_mps or int(number or 0) > 0):
        raise ConfigError(f"{asked} {text}, but torch sees no such device", there_is=there, hint=f"{asked} cpu")
    if kind == "cuda" and not count:
        raise ConfigError(f"{asked} {text}, but torch sees no CUDA device", there_is=there, hint=f"{asked} cpu")
    if kind == "cuda" and int(number or 0) >= count:
        raise ConfigError(f"{asked} {text}: there is no such CUDA device", there_is=there)
    return text


def device_in_words(device: str) -> str:
    """What a device of :func:`torch_device` is: its threads, or the name of the GPU."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads" if device == "cpu" else "Apple GPU"


def not_on_device(error: BaseException) -> ConfigError | None:
    """What to say where a device lacks what a network needs, which is no fault of any row; None for other errors."""
    found = MISSING.search(str(error)) if isinstance(error, NotImplementedError) else None
    if found is not None:
        hint = "PYTORCH_ENABLE_MPS_FALLBACK=1 runs it on the cpu" if found["device"] == "MPS" else "--device cpu"
        return ConfigError(
            f"torch has no {found['op']} on {found['device'].lower()}, which this network needs", hint=hint
        )
    if isinstance(error, TypeError | RuntimeError) and NO_FLOAT64 in str(error):
        return ConfigError("mps has no float64, which this network or its input needs", hint="--device cpu")
    return None


def torch_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """A floating-point format by its word.

    Raises:
        ConfigError: it is none in which networks run.
    """
    import torch

    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    found = known.get(str(dtype).removeprefix("torch."))
    if found is None:
        raise ConfigError(f"dtype {str(dtype)!r} is none in which networks run", expected=", ".join(known))
    return found
