"""Where torch computes: a device by its word, refused in words where this machine has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repcore.errors import ConfigError

if TYPE_CHECKING:
    import torch

KINDS = ("cpu", "cuda")


def torch_device(word: str, asked: str = "--device") -> str:
    """A torch device from what a user wrote: ``auto`` (cuda where there is one), ``cpu``, ``cuda``, ``cuda:1``.

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
        raise ConfigError(f"{asked} {text!r} is unknown", expected="auto, cpu, cuda, or cuda:NUMBER")
    there = ", ".join(["cpu", *(f"cuda:{place}" for place in range(count))])
    if kind == "cuda" and not count:
        raise ConfigError(f"{asked} {text}, but torch sees no CUDA device", there_is=there, hint=f"{asked} cpu")
    if kind == "cuda" and int(number or 0) >= count:
        raise ConfigError(f"{asked} {text}: there is no such CUDA device", there_is=there)
    return text


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
