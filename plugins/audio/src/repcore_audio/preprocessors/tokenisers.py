"""Patches of a spectrogram as numbers of a codebook: centres of patches, or a small network with a quantiser.

Both turn every patch for itself into a code and a code into a patch, so that a table of V patches is all that pictures
and sounds of codes need.

Symbols: N patches, X numbers of a patch, V codes, C width of a code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from repcore.checkpoints.content import write_tensors
from repcore.errors import CheckpointError, DataError
from repcore_audio.configs.spec_mask_git import SpecTokensConfig
from repcore_audio.layers.vector_quantiser import nearest_code, quantise

FILE = "tokeniser.safetensors"
HIDDEN_SHARE = 2  # inner width of the network over the size of a patch
BATCH = 256
LEARNING_RATE = 2e-3


class Tokeniser(Protocol):
    """Patches (N, X) to codes and back; ``explained`` is the share of the training patches' variance that is kept."""

    explained: float

    def encode(self, patches: Tensor) -> Tensor: ...

    def patches(self) -> Tensor: ...

    def tensors(self) -> dict[str, Tensor]: ...


class KMeansTokeniser:
    """Centres of patches.

    Args:
        centres: (V, X).
    """

    def __init__(self, centres: Tensor, explained: float) -> None:
        self.centres, self.explained = centres.float().contiguous(), explained

    def encode(self, patches: Tensor) -> Tensor:
        """Numbers of the nearest centres, int64 (N,)."""
        return nearest_code(patches, self.centres.to(patches))

    def patches(self) -> Tensor:
        """The patch of every code, (V, X)."""
        return self.centres

    def tensors(self) -> dict[str, Tensor]:
        return {"centres": self.centres}


class VectorQuantiser(nn.Module):
    """X -> 2X -> C, nearest code, C -> 2X -> X, with GELU between.

    Args:
        size: X.
        codes / width: V and C.
    """

    codebook: nn.Parameter

    def __init__(self, size: int, codes: int, width: int) -> None:
        super().__init__()
        self.explained = 0.0
        self.down = nn.Sequential(
            nn.Linear(size, HIDDEN_SHARE * size), nn.GELU(), nn.Linear(HIDDEN_SHARE * size, width)
        )
        self.up = nn.Sequential(nn.Linear(width, HIDDEN_SHARE * size), nn.GELU(), nn.Linear(HIDDEN_SHARE * size, size))
        self.codebook = nn.Parameter(torch.randn(codes, width))

    @torch.no_grad()
    def encode(self, patches: Tensor) -> Tensor:
        """Numbers of the nearest codes, int64 (N,)."""
        return nearest_code(self.down(patches), self.codebook)

    @torch.no_grad()
    def patches(self) -> Tensor:
        """The patch of every code, (V, X)."""
        out: Tensor = self.up(self.codebook)
        return out

    def tensors(self) -> dict[str, Tensor]:
        return {name: value.detach().contiguous() for name, value in self.state_dict().items()}


def make_tokeniser(config: SpecTokensConfig, patches: Tensor) -> Tokeniser:
    """A tokeniser of training patches (N, X).

    Raises:
        DataError: fewer different patches than codes. CheckpointError: the file to import cannot be used.
    """
    if config.tokeniser == "import":
        return load_tokeniser(Path(config.tokeniser_file), config, patches.shape[1])
    if len(patches) < config.codes:
        raise DataError(
            f"{len(patches)} training patches are fewer than codes={config.codes}",
            hint="more recordings, or a smaller preprocessor.codes",
        )
    made: Tokeniser = _centres(config, patches) if config.tokeniser == "kmeans" else _trained(config, patches)
    table = made.patches()[made.encode(patches)]
    variance = (patches - patches.mean(0)).square().mean().clamp(min=1e-12)
    made.explained = float(1 - (patches - table).square().mean() / variance)
    return made


def _centres(config: SpecTokensConfig, patches: Tensor) -> KMeansTokeniser:
    from sklearn.cluster import MiniBatchKMeans  # seconds to import

    model = MiniBatchKMeans(
        config.codes, random_state=config.tokeniser_seed, batch_size=2048, n_init=1, max_iter=20, compute_labels=False
    )
    model.fit(patches.numpy())
    return KMeansTokeniser(torch.from_numpy(model.cluster_centers_), 0.0)


def _trained(config: SpecTokensConfig, patches: Tensor) -> VectorQuantiser:
    """Reconstruction and quantiser loss; codes that nothing chose for a while start anew at a latent of the batch."""
    generator = torch.Generator().manual_seed(config.tokeniser_seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.tokeniser_seed)
        network = VectorQuantiser(patches.shape[1], config.codes, config.code_width)
    with torch.no_grad():
        first = torch.randperm(len(patches), generator=generator)[: config.codes]
        network.codebook.copy_(network.down(patches[first]))
    optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    unused = torch.zeros(config.codes, dtype=torch.int64)
    for _ in range(config.tokeniser_steps):
        batch = patches[torch.randint(len(patches), (BATCH,), generator=generator)]
        latents = network.down(batch)
        ids, chosen, loss = quantise(latents, network.codebook, config.commitment)
        optimiser.zero_grad()
        (F.mse_loss(network.up(chosen), batch) + loss).backward()
        optimiser.step()
        unused += 1
        unused[ids] = 0
        late = (unused >= config.reseed_after).nonzero()[:, 0]
        if len(late):
            with torch.no_grad():
                network.codebook[late] = latents[torch.randint(BATCH, (len(late),), generator=generator)].detach()
            unused[late] = 0
    return network.eval().requires_grad_(False)


def save_tokeniser(tokeniser: Tokeniser, path: Path) -> None:
    """One safetensors file."""
    write_tensors(path, tokeniser.tensors(), {"explained": repr(tokeniser.explained)})


def load_tokeniser(path: Path, config: SpecTokensConfig, size: int | None = None) -> Tokeniser:
    """The tokeniser of a file.

    Args:
        size: numbers of a patch; None = not compared.

    Raises:
        CheckpointError: it cannot be read, or has other sizes than the config.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
            explained = float((file.metadata() or {}).get("explained", "nan"))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no tokeniser", expected=f"{FILE} of a model folder", reason=error,
            hint="preprocessor.tokeniser_file=MODEL/tokeniser.safetensors",
        ) from error  # fmt: skip
    found: Tokeniser
    if set(tensors) == {"centres"}:
        found = KMeansTokeniser(tensors["centres"], explained)
    elif "codebook" in tensors and "down.0.weight" in tensors:
        codes, width = tensors["codebook"].shape
        network = VectorQuantiser(tensors["down.0.weight"].shape[1], codes, width)
        network.load_state_dict(tensors)
        network.explained = explained
        found = network.eval().requires_grad_(False)
    else:
        raise CheckpointError(f"{path} is no tokeniser", got=", ".join(sorted(tensors)[:4]))
    table = found.patches()
    if len(table) != config.codes or (size is not None and table.shape[1] != size):
        raise CheckpointError(
            f"{path} has {len(table)} codes for patches of {table.shape[1]} numbers",
            expected=f"{config.codes} codes" + ("" if size is None else f" for {size} numbers"),
        )
    return found
