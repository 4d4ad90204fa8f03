"""Replay of golden I2P-MAE data: every stored tensor through the public classes and the published key map.

Symbols: as in the golden folder's README.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from repcore.interfaces import Batch, StageResult
from repcore.ops import Op
from repcore.specs import TargetSpec
from repcore.verification.golden import Golden
from repcore_pointcloud.checkpoints.i2p_mae import KEYS, convert
from repcore_pointcloud.configs.i2p_mae import MaskedPointsConfig, PointEncoderConfig, ShapeClassConfig
from repcore_pointcloud.encoders.hierarchy import Hierarchy, spread_to_finer
from repcore_pointcloud.encoders.i2p_mae import HierarchicalPointEncoder
from repcore_pointcloud.objectives.i2p_mae import MIDDLE, RECONSTRUCTION, SEMANTIC, Guidance, MaskedPass, MaskedPoints
from repcore_pointcloud.ops.depth_views.torch import view_frames
from repcore_pointcloud.tasks.shape_class import ShapeClassTask

Produced = dict[str, Any]
HEAD = "finetune_head."
TRAINED, EVALUATED = "pretrain.train_bn.", "pretrain.eval_bn."


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; nothing here depends on one folder's sizes. No stage is fed."""
    del fed
    objective = build_objective(golden).eval()
    points = golden.inputs["points"]
    hierarchy = objective.encoder.grouping(points)
    yield StageResult("grouping", _grouping(objective, hierarchy))
    visible = ~golden.inputs["top_mask"].bool()
    with torch.no_grad():
        done = objective.run_masked(hierarchy, visible)
    yield from _mask_stages(golden, hierarchy, done, visible)
    yield from _projection_stages(golden, points)
    guidance = objective.guide(hierarchy)
    assert guidance is not None
    yield from _teacher_stages(golden, objective, hierarchy, guidance, done)
    yield from _token_stages(golden, objective, hierarchy, done)
    trained, training_losses = _train_once(golden)
    losses = {EVALUATED + name: value for name, value in _losses(objective, points, visible).items()}
    yield StageResult("pretrain_losses", losses | {TRAINED + name: value for name, value in training_losses.items()})
    yield from _gradient_stages(golden, trained)
    yield StageResult("svm_feature", {"svm.feature": _svm_feature(golden)})
    yield from _finetune_stages(golden)
    sets = golden.inputs["chamfer.a"], golden.inputs["chamfer.b"]
    yield StageResult("chamfer", {"chamfer.l2": Op("pointcloud/chamfer")(*sets).mean()})


# ------------------------------------------------------------------------------------------------ models


def encoder_config(golden: Golden, **changes: Any) -> PointEncoderConfig:  # fields of the config
    """The stored encoder's settings."""
    facts, grouping = golden.config["encoder"], golden.config["grouping"]
    first = facts["first_embedding_widths"]
    config = PointEncoderConfig(
        groups=tuple(grouping["groups"]),
        neighbours=tuple(grouping["neighbours"]),
        widths=tuple(facts["widths"]),
        depths=tuple(facts["depths"]),
        heads=facts["attention_heads"],
        mlp_ratio=facts["mlp_ratio"],
        point_widths=tuple(first["per_point"]),
        joint_width=first["joint"][0],
        drop_path=facts["drop_path"],
        local_radius=tuple(facts["local_radius"]),
        exclude_origin=grouping["farthest_point_skips_squared_norm_up_to"],
        norm_epsilon=facts["norm_epsilon"],
        batch_norm_epsilon=facts["batch_norm_epsilon"],
        batch_norm_momentum=facts["batch_norm_momentum"],
        pooling=golden.config["svm"]["pooling"],
    )
    return replace(config, **changes)


def build_objective(golden: Golden) -> MaskedPoints:
    """Encoder, decoder and teacher with the stored weights, read as a published checkpoint."""
    encoder = HierarchicalPointEncoder(encoder_config(golden))
    decoder, projection, masking = (golden.config[name] for name in ("decoder", "projection", "masking"))
    config = MaskedPointsConfig(
        teacher="clip-local",
        teacher_path=str(golden.path("weights.safetensors")),
        teacher_heads=golden.config["teacher"]["attention_heads"],
        image_size=projection["image_size"],
        splat=projection["splat_width"],
        mask_ratio=masking["ratio"],
        saliency="raw",
        weight_3d=golden.config["losses"]["weight_3d"],
        weight_2d=golden.config["losses"]["weight_2d"],
        decoder_depths=tuple(decoder["depths"]),
        decoder_drop_path=decoder["drop_path"],
        propagation_blocks=decoder["propagation_blocks"][0],
        propagation_neighbours=decoder["propagation_neighbours"],
        legacy_first_token=masking["mask_used_by_losses"] == "reference_with_spurious_first_token",
    )
    objective = MaskedPoints(config, encoder)
    imported = convert(_published_state(golden), golden.path("weights.safetensors"), _options(golden))
    encoder.load_state_dict(imported.state)
    missing, unexpected = objective.load_state_dict(imported.heads["objective"], strict=False)
    assert not unexpected
    assert all(name.startswith("encoder.") for name in missing)
    return objective


def _published_state(golden: Golden) -> dict[str, Tensor]:
    return {name: golden.weights[name] for name in golden.weights if not name.startswith(HEAD)}


def _options(golden: Golden) -> dict[str, str]:
    """What shapes cannot tell."""
    grouping = golden.config["grouping"]
    listed = {name: ",".join(map(str, grouping[name])) for name in ("groups", "neighbours")}
    return {**listed, "heads": str(golden.config["encoder"]["attention_heads"])}


def _batch(points: Tensor) -> Batch:
    return Batch(inputs={"points": points}, size=len(points))


# ------------------------------------------------------------------------------------------ points, masks


def _grouping(objective: MaskedPoints, hierarchy: Hierarchy) -> Produced:
    produced: Produced = {}
    for number, level in enumerate(hierarchy.levels):
        produced[f"group.{number}.centers"] = level.centres
        produced[f"group.{number}.knn_idx"] = level.index.int()
    first = objective.encoder.grouping.neighbourhoods(hierarchy, MIDDLE)[0]
    produced[f"group.{MIDDLE}.neighborhood_sample0"] = first
    return produced


def _mask_stages(golden: Golden, hierarchy: Hierarchy, done: MaskedPass, visible: Tensor) -> Iterator[StageResult]:
    produced: Produced = {f"mask.{n}": (~one).to(torch.uint8) for n, one in enumerate(done.visible)}
    corrected = spread_to_finer(visible, hierarchy)
    produced |= {f"mask_corrected.{n}": (~one).to(torch.uint8) for n, one in enumerate(corrected)}
    for number, one in enumerate(done.found[:-1]):
        produced[f"mask_vis_pad.{number}"] = one.slots.valid.to(torch.uint8)
    yield StageResult("masks", produced)
    shown = done.visible[MIDDLE].sum()
    counts = {
        "count.visible_tokens_level1": shown[None],
        "count.masked_tokens_level1": (~done.visible[MIDDLE]).sum()[None],
    }
    yield StageResult("token_counts", counts)


def _projection_stages(golden: Golden, points: Tensor) -> Iterator[StageResult]:
    facts = golden.config["projection"]
    frames = view_frames(points, facts["image_size"])
    parameters: Produced = {}
    for view in range(facts["views"]):
        parameters[f"proj.view{view}.pc_min"] = frames.minimum[:, view, None]
        parameters[f"proj.view{view}.grid_size"] = frames.cell[:, view, None, None]
        parameters[f"proj.view{view}.offset_xy"] = frames.offset[:, view].float()
    yield StageResult("projection_parameters", parameters)
    depth, _ = Op("pointcloud/depth-views")(points, facts["image_size"], facts["splat_width"])
    mean, deviation = (torch.tensor(facts[f"image_{name}"]).view(-1, 1, 1) for name in ("mean", "std"))
    images = (torch.sigmoid(depth)[:, :, None] - mean) / deviation  # (B, V, 3, S, S)
    yield StageResult("projection_image", {"proj.view0.image_sample0_ch0": images[0, 0, 0]})
    by_view = images.transpose(0, 1).flatten(2)
    yield StageResult("projection_means", {"proj.all.image_mean_per_view": by_view.mean(2)})
    yield StageResult("projection_square_sums", {"proj.all.image_sumsq_per_view": by_view.square().sum(2)})


# ------------------------------------------------------------------------------------------ pre-training


def _teacher_stages(
    golden: Golden, objective: MaskedPoints, hierarchy: Hierarchy, guidance: Guidance, done: MaskedPass
) -> Iterator[StageResult]:
    views = golden.config["projection"]["views"]

    def by_view(maps: Tensor) -> Tensor:  # all clouds of view 0, then of view 1, ...
        return maps.unflatten(0, (-1, views)).transpose(0, 1).flatten(0, 1)

    target = objective.seen_features(hierarchy, guidance, done)
    stored = golden.config["losses"]["stored_rec_2d_tokens"]
    features = {"clip.feat_map": by_view(guidance.features), f"{EVALUATED}target_2d_first8": target[:stored]}
    yield StageResult("teacher_features", features)
    scores = objective.token_scores(guidance, objective.encoder.config.groups[-1])
    attention = {
        "clip.cls_attention": by_view(guidance.saliency).flatten(1),
        "saliency.token_scores": scores,
        "saliency.sampling_probs": objective.visible_log_probabilities(scores).exp(),
    }
    yield StageResult("teacher_attention", attention)


@torch.no_grad()
def _token_stages(
    golden: Golden, objective: MaskedPoints, hierarchy: Hierarchy, done: MaskedPass
) -> Iterator[StageResult]:
    tokens = {f"{EVALUATED}enc_tokens.{number}": one.values for number, one in enumerate(done.found)}
    for number in (0, 1):
        name = f"{EVALUATED}enc_tokens.{number}"
        yield StageResult(f"encoder_tokens_level{number}", {name: tokens.pop(name)})
    losses = golden.config["losses"]
    others = {
        "token_embed0_sample0": _written_back(objective, hierarchy, done)[0],
        "token_prop0": done.propagated,
        "decoder_out": done.decoded,
        "rec_3d": objective.drawn_points(done)[: losses["stored_rec_3d_tokens"]],
        "rec_2d_first8": objective.told_features(done)[: losses["stored_rec_2d_tokens"]],
    }
    yield StageResult("encoder_decoder", tokens | {EVALUATED + name: value for name, value in others.items()})


def _written_back(objective: MaskedPoints, hierarchy: Hierarchy, done: MaskedPass) -> Tensor:
    """The first embedding with visible tokens after their blocks: the reference stores the tensor that it wrote to."""
    encoder, slots = objective.encoder, done.found[0].slots
    grid = encoder.embed(hierarchy, 0)
    values = encoder.run_level(0, slots.take(grid), slots.take(hierarchy.levels[0].centres), slots.valid)
    return slots.put(grid, values)


def _losses(objective: MaskedPoints, points: Tensor, visible: Tensor) -> dict[str, Tensor]:
    terms = objective(_batch(points), {"visible": visible})
    return {"loss_3d": terms.terms[RECONSTRUCTION].detach(), "loss_2d": terms.terms[SEMANTIC].detach()}


def _train_once(golden: Golden) -> tuple[MaskedPoints, dict[str, Tensor]]:
    """One pass in training mode with gradients of the summed loss."""
    objective = build_objective(golden).train()
    terms = objective(_batch(golden.inputs["points"]), {"visible": ~golden.inputs["top_mask"].bool()})
    terms.total.backward()
    losses = {"loss_3d": terms.terms[RECONSTRUCTION].detach(), "loss_2d": terms.terms[SEMANTIC].detach()}
    return objective, losses


def _published(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published names of an objective's tensors."""
    named = {name if name.startswith("encoder.") else f"objective.{name}": one for name, one in tensors.items()}
    return KEYS.reverse(named)


def _gradient_stages(golden: Golden, trained: MaskedPoints) -> Iterator[StageResult]:
    gradients = _published({name: p.grad for name, p in trained.named_parameters() if p.grad is not None})
    norm = f"{TRAINED}grad_norm."
    wanted = [name.removeprefix(norm) for name in golden.expected("gradient_norms")]
    yield StageResult("gradient_norms", {norm + name: gradients[name].norm() for name in wanted if name in gradients})
    yield StageResult("mask_token_gradient", {f"{TRAINED}grad.mask_token": gradients["mask_token"]})
    after = f"{TRAINED}after."
    buffers = _published({name: value for name, value in trained.named_buffers() if not name.startswith("target_norm")})
    stored = [name.removeprefix(after) for name in golden.expected("batch_norm_buffers")]
    yield StageResult("batch_norm_buffers", {after + name: buffers[name] for name in stored if name in buffers})


# ------------------------------------------------------------------------------------------ after training


@torch.no_grad()
def _svm_feature(golden: Golden) -> Tensor:
    encoder = build_objective(golden).encoder.eval()
    return encoder(_batch(golden.inputs["points"])).pooled


def _finetune_stages(golden: Golden) -> Iterator[StageResult]:
    labels = golden.inputs["finetune_labels"]
    with torch.no_grad():
        task = _finetune_task(golden).eval()
        logits = task(_batch(golden.inputs["points"]))
        loss = task.loss(logits, labels)
        # batch norms over the head's two rows amplify the last bits of the encoder by thousands
        task = _finetune_task(golden, arithmetic="published").train()
        batch_statistics = task(_batch(golden.inputs["points"]))
    yield StageResult("finetune", {"finetune.logits": logits, "finetune.train_bn_nodropout.logits": batch_statistics})
    yield StageResult("finetune_loss", {"finetune.loss": loss})


def _finetune_task(golden: Golden, **changes: Any) -> ShapeClassTask:  # fields of the encoder's config
    """The stored classifier, read as a published fine-tuned checkpoint."""
    facts = golden.config["finetune"]
    state = {
        name: golden.weights[name]
        for name in golden.weights
        if name.startswith("h_encoder.") and (facts["encoder_norms"] or ".encoder_norms." not in name)
    }
    state |= {name.removeprefix(HEAD): golden.weights[name] for name in golden.weights if name.startswith(HEAD)}
    imported = convert(state, golden.path("weights.safetensors"), _options(golden))
    encoder = HierarchicalPointEncoder(
        encoder_config(golden, token_norms=facts["encoder_norms"], groups=tuple(facts["groups"]), **changes)
    )
    encoder.load_state_dict(imported.state)
    config = ShapeClassConfig(
        pooling={"mean_plus_max": "mean-plus-max", "mean_max": "mean-max"}[facts["pooling"]],  # type: ignore[arg-type]
        hidden_widths=tuple(facts["head_hidden_widths"]),
        dropout=facts["head_dropout"],
        label_smoothing=facts["label_smoothing"],
        local_radius=tuple(facts["local_radius"]),
        neighbours=tuple(facts["neighbours"]),
        scale=(1.0, 1.0),
        shift=0.0,
    )
    names = tuple(str(number) for number in range(facts["classes"]))
    task = ShapeClassTask(config, encoder, TargetSpec("class", "class", names=names))
    missing, unexpected = task.load_state_dict(imported.heads["task"], strict=False)
    assert not unexpected
    assert all(name.startswith("encoder.") or name == "weights" for name in missing)
    return task
