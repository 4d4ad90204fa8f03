"""A network as its settings will make it, before memory is taken for its numbers.

A received ``config.json`` can announce terabytes in one number. What an encoder or task will hold is therefore made
first on torch's meta device (names, shapes, no numbers) and compared with what the header of the weights announces.
Code that cannot run there is built as it is; both are stopped when they register far more than the file holds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from repcore.checkpoints.reading import grouped
from repcore.data.allocation import check_allocation
from repcore.errors import CheckpointError, ItemError, errors_behind
from repcore.memory import is_out_of_memory

Shape = tuple[int, ...]
MORE, MORE_BYTES, MORE_PARAMETERS = 4, 256 * 2**20, 10_000
"""What may be registered while a network is put together (parts that it drops again): a multiple of what is stored, and
as much on top."""
HINT = "use the encoder settings of the folder's config.json"


class TooLargeError(CheckpointError):
    """Settings describe another network than the weights: a far larger one."""


def outlined(make: Callable[[], nn.Module], shapes: Mapping[str, Shape], folder: Path) -> nn.Module | None:
    """What ``make`` makes, without numbers; None where its code needs real ones, or cannot be built at all.

    Args:
        shapes: of the stored tensors by name.

    Raises:
        CheckpointError: it is far larger than what is stored, or needs more memory beside it than an item may have.
    """
    try:
        with bounded(shapes, folder), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the real one says the same again
            with torch.device("meta"):
                network = make()
        held = dict(network.named_buffers())
        sizes = [value.numel() * value.element_size() for value in held.values() if value.is_meta]
        [value.shape for value in network.state_dict().values()]  # lazy ones have none yet
    except TooLargeError:
        raise
    except Exception as error:
        if any(is_out_of_memory(one) for one in errors_behind(error)):
            raise TooLargeError(f"{folder} describes a network that is larger than any memory", hint=HINT) from error
        return None
    try:
        check_allocation(sum(sizes), folder.name, "its config.json")  # parameters are compared with the file
    except ItemError as error:
        raise TooLargeError(f"{folder} describes a network that was not built: {error.reason}") from error
    return network


@contextmanager
def bounded(shapes: Mapping[str, Shape], folder: Path) -> Iterator[None]:
    """Inside, a network that registers far more parameters than are stored is stopped on its way.

    Raises:
        CheckpointError: it is.
    """
    stored = sum(torch.Size(shape).numel() for shape in shapes.values())
    most_numbers = MORE * stored + MORE_BYTES // 4
    most = MORE * len(shapes) + MORE_PARAMETERS
    count = numbers = 0

    def judge(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal count, numbers
        if parameter is None or torch.nn.parameter.is_lazy(parameter):
            return
        count, numbers = count + 1, numbers + parameter.numel()
        if count > most or numbers > most_numbers:
            raise TooLargeError(
                f"{folder} describes a far larger network than its weights hold and was not built",
                stored=f"{len(shapes):,} tensors of {stored:,} numbers", hint=HINT,
            )  # fmt: skip

    handle = register_module_parameter_registration_hook(judge)
    try:
        yield
    finally:
        handle.remove()


def compare(
    shapes: Mapping[str, Shape],
    own: Mapping[str, Tensor],
    what: str,
    dtypes: Mapping[str, torch.dtype] | None = None,
    hint: str = HINT,
) -> None:
    """Whether stored tensors are those of a network.

    Args:
        shapes / dtypes: of the stored ones; dtypes may be unknown.
        own: state of the network, with numbers or without.
        what: for the message, ``weights in FOLDER do not fit this encoder``.

    Raises:
        CheckpointError: names, shapes or dtypes differ; names them.
    """
    unexpected = [name for name in shapes if name not in own]
    missing = [name for name in own if name not in shapes]
    misshapen = [
        f"{name} {shape} for {tuple(own[name].shape)}"
        for name, shape in shapes.items()
        if name in own and tuple(own[name].shape) != shape
    ]
    mistyped = [
        f"{name} {kind} for {own[name].dtype}".replace("torch.", "")
        for name, kind in (dtypes or {}).items()
        if name in own and own[name].dtype != kind
    ]
    if unexpected or missing or misshapen or mistyped:
        raise CheckpointError(
            what,
            unexpected=grouped(unexpected),
            missing=grouped(missing),
            wrong_shape="; ".join(misshapen[:4]) + (" ..." if len(misshapen) > 4 else ""),
            wrong_dtype="; ".join(mistyped[:4]) + (" ..." if len(mistyped) > 4 else ""),
            hint=hint,
        )
