"""Replay of golden folders of ``pointcloud/fac``: regions, losses, gradients, memories and both U-Nets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from repcore.interfaces import StageResult
from repcore.nn.ema import update_teacher
from repcore.nn.losses import info_nce
from repcore.verification.golden import Golden
from repcore_pointcloud.checkpoints.sparse_unet import pointcept_state, res16unet_state
from repcore_pointcloud.configs.cluster3dseg import ClusterContrastConfig
from repcore_pointcloud.configs.sparse_unet import SparseUNetConfig
from repcore_pointcloud.encoders.sparse_unet import SparseUNet
from repcore_pointcloud.layers.sparse_tensor import SparseTensor
from repcore_pointcloud.objectives.cluster3dseg import ClusterContrast
from repcore_pointcloud.objectives.fac_losses import (
    CorrespondenceNetwork,
    Matches,
    RegionalTerms,
    matched_contrast,
    region_anchors,
    regional_contrast,
)
from repcore_pointcloud.objectives.scene_moco import MomentumContrast
from repcore_pointcloud.ops.sparse_conv3d.sites import Sites
from repcore_pointcloud.regions.foreground import GeometricRule, region_statistics
from repcore_pointcloud.regions.normals import local_shape
from repcore_pointcloud.regions.segmentation import edge_weights, merge_regions, neighbour_edges


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """Every stage of a folder, through the plugin's public classes."""
    del fed  # no stage of this system asks for stored upstream tensors
    yield from _regions(golden)
    yield from _contrast(golden)
    yield from _momentum(golden)
    yield from _clusters(golden)
    yield from _spunet(golden)
    yield from _res16unet(golden)


def _sub_state(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}


# ------------------------------------------------------------------------------------------------- regions


def _regions(golden: Golden) -> Iterator[StageResult]:
    config, rule = golden.config["oversegmentation"], golden.config["foreground"]
    points = golden.inputs["scene.xyz"].double().numpy()
    shape = local_shape(points, int(config["neighbours"]))
    yield StageResult("normals", {"overseg.normals": torch.from_numpy(shape.normals).float()})
    yield StageResult("curvature", {"overseg.curvature": torch.from_numpy(shape.curvature).float()})
    edges = neighbour_edges(shape.neighbours)
    yield StageResult("edge_count", {"overseg.num_edges": torch.tensor([len(edges)])})
    region = merge_regions(
        len(points),
        edges,
        edge_weights(points, shape, edges),
        merge_constant=float(config["merge_constant"]),
        minimum_size=int(config["minimum_region_size"]),
    )
    yield StageResult("regions", {"overseg.region": torch.from_numpy(region)})
    stored = golden.outputs["overseg.region"].numpy()
    # stored shares refer to the points that the scene's generator was asked for, a few more than it made: shares are
    # compared up to that one factor
    asked = round(len(points) / float(golden.outputs["fg.region_stats"][:, 0].double().sum()))
    found = region_statistics(points, stored, int(stored.max()) + 1, scene_points=asked)
    table = np.stack([found.share, found.thickness, found.extent], axis=1)
    yield StageResult("region_statistics", {"fg.region_stats": torch.from_numpy(table).float()})
    is_foreground = GeometricRule(
        float(rule["background_share_above"]),
        float(rule["background_thickness_below"]),
        float(rule["background_extent_above"]),
    )(found)
    yield StageResult("foreground", {"fg.region_is_foreground": torch.from_numpy(is_foreground).long()})


# ------------------------------------------------------------------------------------------------ contrast


def _network(golden: Golden) -> CorrespondenceNetwork:
    network = CorrespondenceNetwork(int(golden.config["features"]["width"]))
    network.load_state_dict(_sub_state(golden.weights, "scn."))
    return network


def _contrast(golden: Golden) -> Iterator[StageResult]:
    inputs, network = golden.inputs, _network(golden)
    view_a, view_b = inputs["view_a.D"].clone().requires_grad_(), inputs["view_b.D"]
    region = golden.outputs["overseg.region"]
    region_a, region_b = region[inputs["view_a.index"]], region[inputs["view_b.index"]]
    foreground = golden.outputs["fg.region_is_foreground"].bool()
    anchors = region_anchors(view_b, region_b, len(foreground))
    geometric = regional_contrast(
        view_a, anchors, inputs["geo.positive_index"], inputs["geo.negative_index"],
        float(golden.config["geometric_loss"]["temperature"]),
    )  # fmt: skip
    yield StageResult("geometric_loss", _geometric_outputs(geometric, anchors))
    weighted_a, weighted_b = network(view_a), network(view_b).detach()
    yield StageResult(
        "projector",
        {
            "scn.S_a": network.projector(view_a).detach(),
            "scn.F_a": weighted_a.detach(),
            "scn.F_b": weighted_b,
        },
    )
    queries = region_anchors(weighted_a, region_a, len(foreground))
    settings = golden.config["feature_loss"]
    same = foreground[:, None] == foreground[region_b][None, :]
    matches = matched_contrast(
        queries, weighted_b, queries=foreground, same_flag=same, other_flag=~same,
        top_k=int(settings["top_k"]), temperature=float(settings["temperature"]),
    )  # fmt: skip
    yield StageResult("feature_loss", _feature_outputs(matches, queries))
    yield StageResult("top_matches", {"fea.topk_index": matches.top_index})
    yield from _totals(golden, view_a, network, geometric, matches)


def _geometric_outputs(found: RegionalTerms, anchors: Tensor) -> dict[str, Tensor]:
    terms = found.terms.detach()[found.counted]
    return {"geo.anchor": anchors, "geo.terms": terms, "geo.loss": found.mean.detach()[None]}


def _feature_outputs(found: Matches, anchors: Tensor) -> dict[str, Tensor]:
    return {
        "fea.anchor": anchors.detach(),
        "fea.similarity": found.similarity.detach(),
        "fea.terms": found.terms.detach()[found.counted],
        "fea.loss": found.mean.detach()[None],
    }


def _totals(
    golden: Golden, view_a: Tensor, network: CorrespondenceNetwork, geometric: RegionalTerms, matches: Matches
) -> Iterator[StageResult]:
    inputs, weights, single = golden.inputs, golden.config["total_loss"], golden.config["point_infonce"]
    total = float(weights["geometric_weight"]) * geometric.mean + float(weights["feature_weight"]) * matches.mean
    one, two = inputs["view_a.D"][inputs["pair.a"]], inputs["view_b.D"][inputs["pair.b"]]
    pairs = info_nce(F.normalize(one, dim=1), F.normalize(two, dim=1), temperature=float(single["temperature"]))
    yield StageResult("total_loss", {"total.loss": total.detach()[None], "pointinfonce.loss": pairs[None]})
    layers = (network.get_parameter("projector.0.weight"), network.get_parameter("projector.2.weight"))
    grads = torch.autograd.grad(total, (view_a, *layers))
    names = ("grad.D_a", "grad.projector.0.weight", "grad.projector.2.weight")
    yield StageResult("gradients", dict(zip(names, grads, strict=True)))


# ------------------------------------------------------------------------------------------------ memories


def _momentum(golden: Golden) -> Iterator[StageResult]:
    inputs = golden.inputs
    teacher, student = (_holder(inputs[name]) for name in ("ema.teacher", "ema.student"))
    update_teacher(teacher, student, float(golden.config["ema"]["momentum"]))
    yield StageResult("ema", {"ema.updated": teacher.value.detach()})
    config = golden.config["moco"]
    losses: dict[str, Tensor] = {}
    moved: dict[str, MomentumContrast] = {}
    for name in ("joint", "within"):
        contrast = _contrast_memory(golden, config[name])
        given = {kind: inputs[f"moco.embedding{number}"] for number, kind in enumerate(config["embedding_order"])}
        queries = {"points": given["points_query"], "voxels": given["voxels_query"]}
        keys = {"points": given["points_key"], "voxels": given["voxels_key"]}
        terms = contrast(queries, keys)
        parts = ("points", "voxels", "points-voxels", "voxels-points")
        losses[f"moco_{name}.loss"] = terms.loss[None]
        losses[f"moco_{name}.parts"] = torch.stack([terms.parts[part] for part in parts])
        contrast.update(keys)
        moved[name] = contrast
    yield StageResult("moco_losses", losses)
    after = moved[config["queues_updated_by"]]
    yield StageResult(
        "moco_queues", {"moco.queue_after": after.queues[0].T, "moco.queue_other_after": after.queues[1].T}
    )
    yield StageResult("moco_pointer", {"moco.queue_ptr_after": after.pointer[None]})


def _holder(value: Tensor) -> Any:  # a module whose only parameter is called value
    module = torch.nn.Module()
    module.value = torch.nn.Parameter(value.clone())
    return module


def _contrast_memory(golden: Golden, weights: Mapping[str, Any]) -> MomentumContrast:
    config = golden.config["moco"]
    contrast = MomentumContrast(
        int(config["embedding_width"]),
        int(config["queue_columns"]),
        temperature=float(config["temperature"]),
        within=tuple(weights["within_weights"]),
        across=tuple(weights["across_weights"]),
    )
    contrast.queues.copy_(torch.stack([golden.weights["moco.queue"].T, golden.weights["moco.queue_other"].T]))
    return contrast


def _clusters(golden: Golden) -> Iterator[StageResult]:
    given = golden.config["cluster"]
    contrast = ClusterContrast(
        ClusterContrastConfig(
            classes=given["classes"],
            feature_width=given["width"],
            clusters_per_class=given["clusters_per_class"],
            fewer_clusters_classes=tuple(given["fewer_clusters"]["classes"]),
            fewer_clusters=given["fewer_clusters"]["clusters"],
            ignored_label=given["ignored_label"],
            center_momentum=given["center_momentum"],
            temperature=given["temperature"],
            base_temperature=given["base_temperature"],
            maximum_anchors=given["maximum_anchors"],
            queue_per_cluster=given["queue_per_cluster"],
            enqueued_per_step=given["enqueued_per_step"],
            sinkhorn_power=given["sinkhorn_power"],
            sinkhorn_stop=given["sinkhorn_stop"],
            sinkhorn_check_every=given["sinkhorn_check_every"],
            loss_factor=given["loss_factor"],
            reference_compat=given["reference_compat"],
        )
    )
    contrast.centres.copy_(golden.weights["cluster.cluster_center"])
    contrast.queue.copy_(golden.weights["cluster.queue_row"][:, None].expand_as(contrast.queue))
    features = golden.inputs["cluster.features"].clone().requires_grad_()
    terms = contrast(features, golden.inputs["cluster.labels"], golden.inputs["cluster.predict"])
    found = {"loss": terms.loss, "ppc_queue": terms.queue, "ppc_batch": terms.batch, "pcc": terms.centre}
    yield StageResult("cluster_losses", {f"cluster.{name}": one.detach()[None] for name, one in found.items()})
    terms.loss.backward()
    anchors = F.normalize(features.detach(), dim=1)[terms.anchor_index]
    written = contrast.update(anchors, terms.sub_labels)
    yield StageResult("cluster_state", {"cluster.anchor_features": anchors, "cluster.center_after": contrast.centres})
    yield StageResult(
        "cluster_indices", {"cluster.anchor_sublabels": terms.sub_labels, "cluster.queue_changed_rows": written}
    )
    yield StageResult("cluster_gradient", {"cluster.grad_features": features.grad})


# -------------------------------------------------------------------------------------------------- U-Nets


def _unet(golden: Golden, name: str) -> SparseUNet:
    common, own = golden.config["unet"], golden.config["unet"][name]
    return SparseUNet(
        SparseUNetConfig(
            input_width=common["input_width"],
            stem_width=common["stem_width"],
            stem_kernel=own["stem_kernel"],
            stage_widths=tuple(common["stage_widths"]),
            stage_blocks=tuple(common["stage_blocks"]),
            width_changes_at="down-convolution" if name == "spunet" else "block",
            output_width=common["output_width"],
            batch_norm_epsilon=own["batch_norm_epsilon"],
        )
    ).eval()


def _sorted_rows(voxels: SparseTensor) -> tuple[Tensor, Tensor]:
    """Coordinates and features in ascending (b, x, y, z)."""
    order = np.lexsort(voxels.sites.coordinates.numpy().T[::-1])
    return voxels.sites.coordinates[order], voxels.features.detach()[order]


def _spunet(golden: Golden) -> Iterator[StageResult]:
    network = _unet(golden, "spunet")
    network.load_state_dict(pointcept_state(_sub_state(golden.weights, "spunet.")))
    features = golden.inputs["unet.features"].clone().requires_grad_()
    found = network.stages(SparseTensor(features, Sites(golden.inputs["unet.coords_bxyz"])))
    output = found.pop("final")
    rows = {name: _sorted_rows(one) for name, one in found.items()}
    yield StageResult("spunet_sites", {f"spunet.{name}.coords_bxyz": one[0] for name, one in rows.items()})
    values = {f"spunet.{name}.features": one[1] for name, one in rows.items()}
    yield StageResult("spunet_features", {**values, "spunet.output": output.features.detach()})
    stem = network.get_parameter("conv_input.0.weight")
    grads = torch.autograd.grad(output.features.square().mean(), (features, stem))
    names = ("spunet.grad_features", "spunet.grad_conv_input.0.weight")
    yield StageResult("spunet_gradients", dict(zip(names, grads, strict=True)))


@torch.no_grad()
def _res16unet(golden: Golden) -> Iterator[StageResult]:
    network = _unet(golden, "res16unet")
    order = golden.config["unet"]["res16unet"]["kernel_order"]
    network.load_state_dict(res16unet_state(_sub_state(golden.weights, "res16unet."), order)[0])
    sites = Sites(golden.inputs["unet.coords_bxyz"])
    found = network.stages(SparseTensor(golden.inputs["unet.features"], sites))
    depth = network.depth
    names = {f"block{stage + 1}": f"enc.{stage}" for stage in range(depth)}
    names |= {f"block{2 * depth - stage}": f"dec.{stage}" for stage in range(depth)}
    coarse = {name: _sorted_rows(found[ours]) for name, ours in names.items() if found[ours].sites is not sites}
    down = [f"block{stage + 1}" for stage in range(depth)]
    yield StageResult("res16unet_sites", {f"res16unet.{name}.coords_bxyz": coarse[name][0] for name in down})
    values = {f"res16unet.{name}.features": rows[1] for name, rows in coarse.items()}
    finest = {"conv0": "conv_input", "final": "final", f"block{2 * depth}": "dec.0"}
    values |= {f"res16unet.{name}.features": found[ours].features for name, ours in finest.items()}
    values["res16unet.final_normalized.features"] = F.normalize(found["final"].features, dim=1)
    yield StageResult("res16unet_features", values)
