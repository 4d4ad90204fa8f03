"""The authors' own code of four systems, run from checkouts beside ours; none of it is part of this repository.

A folder holds the checkouts under the names of their repositories (``git clone`` of those in ``REPOSITORIES``). What
only a GPU has is replaced by plain torch: farthest points and neighbours by a loop and by all distances, Chamfer
distances by all differences; ``.cuda()`` does nothing; packages that are only imported are empty. timm comes from
``make bench-env``.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from pointcloud_speed import at, broadcast_nearest, gather_farthest
from torch import Tensor, nn
from torch.nn import functional as F

REPOSITORIES = {
    "I2P-MAE": "ZrrSkywalker/I2P-MAE",
    "Point-M2AE": "ZrrSkywalker/Point-M2AE",
    "alice": "alibaba-damo-academy/alice",
    "EHGNN": "harryjo97/EHGNN",
}
TOP = ("models", "utils", "extensions", "clip_attn", "CASA", "loss", "tools")  # their packages, which share names


def name_of(folder: Path, system: str) -> str:
    """Repository and commit, as a result names a peer."""
    words = ["git", "-C", str(folder / system), "rev-parse", "--short=12", "HEAD"]
    found = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    return f"{REPOSITORIES[system]}@{found or 'unknown commit'}"


@contextmanager
def imported(folder: Path, system: str, stand_ins: dict[str, types.ModuleType]) -> Iterator[None]:
    """Their packages can be imported, without a GPU, while this is open."""

    def same(self: Any, *given: object, **more: object) -> Any:
        return self

    def forget() -> None:  # not all that is new: torch imports much of itself when it is first needed
        for name in [one for one in sys.modules if one in stand_ins or one.partition(".")[0] in TOP]:
            del sys.modules[name]

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(sys, "path", [str(folder / system), *sys.path]))
        stack.enter_context(mock.patch.object(Tensor, "cuda", same))
        stack.enter_context(mock.patch.object(nn.Module, "cuda", same))
        forget()
        sys.modules.update(stand_ins)
        try:
            yield
        finally:
            forget()


def module(name: str, **holds: Any) -> types.ModuleType:
    made = types.ModuleType(name)
    for key, value in holds.items():
        setattr(made, key, value)
    return made


# ------------------------------------------------------------------------------------- torch for CUDA ops


class Neighbours:
    """knn_cuda's class."""

    def __init__(self, k: int, transpose_mode: bool) -> None:
        assert transpose_mode
        self.k = k

    def __call__(self, points: Tensor, queries: Tensor) -> tuple[None, Tensor]:
        return None, broadcast_nearest(queries, points, self.k)


def gathered(channels: Tensor, index: Tensor) -> Tensor:
    """pointnet2_ops' gather: (B, C, N), (B, G) to (B, C, G)."""
    return at(channels.transpose(1, 2), index).transpose(1, 2)


class Chamfer(nn.Module):
    """Mean of both nearest squared distances."""

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        distances = ((one[:, :, None] - other[:, None]) ** 2).sum(-1)
        return distances.min(2).values.mean() + distances.min(1).values.mean()


def scatter(source: Tensor, index: Tensor, dim: int, reduce: str) -> Tensor:
    """torch_scatter's sum over rows (B, N, C) by (B, N)."""
    assert dim == 1
    assert reduce == "sum"
    out = source.new_zeros(len(source), int(index.max()) + 1, source.shape[2])
    return out.scatter_add_(1, index[..., None].expand_as(source), source)


def scatter_add(source: Tensor, index: Tensor, dim: int, dim_size: int) -> Tensor:
    assert dim == 0
    return source.new_zeros(dim_size).scatter_add_(0, index, source)


def point_stand_ins() -> dict[str, types.ModuleType]:
    ops = module("pointnet2_ops.pointnet2_utils", furthest_point_sample=gather_farthest, gather_operation=gathered)
    return {
        "knn_cuda": module("knn_cuda", KNN=Neighbours),
        "pointnet2_ops": module("pointnet2_ops", pointnet2_utils=ops),
        "pointnet2_ops.pointnet2_utils": ops,
        "torch_scatter": module("torch_scatter", scatter=scatter),
        "extensions": module("extensions"),
        "extensions.chamfer_dist": module("extensions.chamfer_dist", ChamferDistanceL2=Chamfer),
        "matplotlib": module("matplotlib"),
        "matplotlib.pyplot": module("matplotlib.pyplot"),
        "mpl_toolkits": module("mpl_toolkits"),
        "mpl_toolkits.mplot3d": module("mpl_toolkits.mplot3d", Axes3D=None),
        "utils.registry": module("utils.registry", Registry=Registry),
        "utils.logger": module("utils.logger", print_log=lambda *given, **more: None),
    }


class Registry:
    """Keeps nothing: classes are taken by their names."""

    def __init__(self, name: str) -> None:
        self.name = name

    def register_module(self, *given: object, **more: object) -> Callable[[type], type]:
        return lambda one: one


# ------------------------------------------------------------------------------------------------ systems


def kept(function: Callable[..., Any]) -> Callable[..., Any]:
    """The first answer of a function again and again."""
    answers: list[Any] = []

    def answer(*given: object) -> Any:
        if not answers:
            answers.append(function(*given))
        return answers[0]

    return answer


def point_step(
    folder: Path, system: str, points: Tensor, teacher_file: Path | None, keep_maps: bool = False
) -> Callable[[], object]:
    """Forward and backward of a pre-training step of the published size without drop path.

    Args:
        teacher_file: for I2P-MAE: written here, the weights of its CLIP image encoder as OpenAI's file has them.
        keep_maps: the image encoder runs in the first step alone.
    """
    settings = types.SimpleNamespace(
        mask_ratio=0.8, group_sizes=[16, 8, 8], num_groups=[512, 256, 64], encoder_depths=[5, 5, 5],
        encoder_dims=[96, 192, 384], local_radius=[0, 0, 0], decoder_depths=[1, 1], decoder_dims=[384, 192],
        decoder_up_blocks=[1, 1], drop_path_rate=0.0, num_heads=6,
        clip_config=types.SimpleNamespace(visual_encoder="ViT-B/16", feat_dim=512),
    )  # fmt: skip
    stand_ins = point_stand_ins()
    torch.manual_seed(0)
    with imported(folder, system, stand_ins):
        class_name = system.replace("-", "_")
        # the package's own list of modules would import the fine-tuning code with what that needs
        sys.modules["models"] = package = module("models", __path__=[str(folder / system / "models")])
        package.build = sys.modules["models.build"] = module("models.build", MODELS=Registry("models"))  # type: ignore[attr-defined]
        if teacher_file is not None:
            sys.modules["clip_attn"] = clip = module("clip_attn", __path__=[str(folder / system / "clip_attn")])
            image_encoder = (
                importlib.import_module("clip_attn.model").VisionTransformer(224, 16, 768, 12, 12, 512).eval()
            )
            state = {f"visual.{name}": value for name, value in image_encoder.state_dict().items()}
            torch.save(state, teacher_file)
            maps_of = kept(image_encoder) if keep_maps else image_encoder
            reader = module("reader", encode_image=maps_of, eval=lambda: None)
            clip.load = lambda name: (reader, None)  # type: ignore[attr-defined]
        network = getattr(importlib.import_module(f"models.{class_name}"), class_name)(settings)

    def step() -> object:
        with mock.patch.object(Tensor, "cuda", lambda self, *given, **more: self):
            network.zero_grad(set_to_none=True)
            losses = network(points)
            total: Tensor = torch.stack(losses).sum() if isinstance(losses, tuple) else losses
            total.backward()
            return total

    return step


def alice_step(folder: Path, pair: tuple[Tensor, Tensor], learning_rate: float, clip: float) -> Callable[[], object]:
    """A whole step: networks, losses, clipping tensor by tensor, AdamW, moving averages, as their engine has it."""
    empty: dict[str, types.ModuleType] = {
        name: mock.MagicMock() for name in ("cv2", "matplotlib", "matplotlib.pyplot", "SimpleITK")
    }
    torch.manual_seed(0)
    with imported(folder, "alice", empty):
        utils = importlib.import_module("utils")
        utils.__dict__.setdefault("trunc_normal_", nn.init.trunc_normal_)
        for name in ("models", "CASA"):
            sys.modules[name] = module(name, __path__=[str(folder / "alice" / name)])
        heads, backbones = importlib.import_module("models.head"), importlib.import_module("models.nnFormer")
        heads.__dict__["Att_iBOTHead"] = heads.AliceHead  # the name under which its own class is called there
        align = importlib.import_module("CASA.CASA_Module").CASA(512, 2048, 8, 64, 64)
        loss = importlib.import_module("loss").Loss(
            512, 512, 2, 0.008, 0.01, 0.008, 0.01, 30, 100, lambda1=1, lambda2=1, lambda3=10
        )
        student, teacher = (
            utils.MultiCropWrapper(
                backbones.nnFormer(img_size=(64, 64, 64), input_channels=1, output_channels=1, embedding_dim=48),
                heads.AliceHead(384, 512, patch_out_dim=512, norm_last_layer=True, shared_head=shared),
            )
            for shared in (False, True)
        )
    for one in teacher.parameters():
        one.requires_grad = False
    optimiser = torch.optim.AdamW([*student.parameters(), *align.parameters()], lr=learning_rate)
    known = dict(student.named_parameters())
    averaged = [(one, known[name]) for name, one in teacher.named_parameters() if name in known]
    mask_of = utils.MaskGenerator((64, 64, 64), mask_patch_size=16, model_patch_size=2, mask_ratio=0.75)

    def step() -> object:
        images = list(pair)
        masks = [mask_of()[None, None] for _ in images]
        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(Tensor, "cuda", lambda self, *given, **more: self))
            stack.enter_context(mock.patch("torch.distributed.all_reduce"))
            stack.enter_context(mock.patch("torch.distributed.get_world_size", return_value=1))
            told, shown = teacher(images), student(images, mask=masks)
            total = loss(images, shown, told, *align(shown, told), masks, 0)["loss"]
        optimiser.zero_grad()
        total.backward()
        utils.clip_gradients(student, clip)
        optimiser.step()
        with torch.no_grad():
            for old, new in averaged:
                old.data.mul_(0.996).add_(0.004 * new.detach().data)
        return total

    return step


def hyperdrop(folder: Path, node_width: int, ratio: float) -> nn.Module:
    """Their classifier of TU data sets in its published settings."""
    stand_ins = {
        "torch_scatter": module("torch_scatter", scatter_add=scatter_add),
        "ogb": module("ogb"),
        "ogb.graphproppred": module("ogb.graphproppred"),
        "ogb.graphproppred.mol_encoder": module("mol_encoder", AtomEncoder=None, BondEncoder=None),
    }
    chosen = types.SimpleNamespace(
        num_node_features=node_width, num_edge_features=1, num_hidden=128, num_classes=2, edge_ratio=ratio,
        dropout=0.5, num_convs=3, data="PROTEINS",
    )  # fmt: skip
    torch.manual_seed(0)
    pooling = importlib.import_module("torch_geometric.nn.pool.topk_pool")
    select = importlib.import_module("torch_geometric.nn.pool.select.topk")
    with imported(folder, "EHGNN", stand_ins), mock.patch.object(pooling, "topk", select.topk, create=True):
        network: nn.Module = importlib.import_module("models.models").Model_HyperDrop(chosen)
    return network


def classification_loss(network: nn.Module, data: Any) -> Tensor:
    return F.nll_loss(network(data), data.y)
