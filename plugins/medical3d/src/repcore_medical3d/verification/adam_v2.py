"""Replay of golden Adam-v2 data: every stored tensor through the public classes and the published key map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repcore.config import OptimiserConfig
from repcore.interfaces import Batch, Progress, StageResult
from repcore.training.optimisers import build_optimiser, weight_decay_at
from repcore.verification.golden import Golden
from repcore.verification.run import RAW_GRADIENT
from repcore_medical3d.checkpoints.adam_v2 import KEYS
from repcore_medical3d.configs.adam_v2 import AdamV2Config, ConvNextConfig, ViewsConfig
from repcore_medical3d.encoders.convnext import ConvNext, ConvNextEncoder
from repcore_medical3d.layers.boxes import Boxes, branching_for, centred_origin, centred_sides
from repcore_medical3d.objectives.adam_v1 import contrast_logits, kept, pruned_info_nce, similarities
from repcore_medical3d.objectives.adam_v2 import (
    AdamV2,
    clip_each_tensor,
    follow,
    has_weight_decay,
    update_centre,
)
from repcore_medical3d.objectives.part_whole import normalised_parts
from repcore_medical3d.objectives.schedules import cosine_schedule, linear_then_constant
from repcore_medical3d.preprocessors.image_pixels import crop_box, resized_pixels, split_pixels

Produced = dict[str, Any]
BASE_BATCH = 256  # batch at which the published base learning rate holds


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; nothing here depends on one folder's sizes. No stage is fed."""
    del fed
    joint, warmup = joint_draws(golden), warmup_draws(golden)
    with torch.no_grad():
        objective = stored_objective(golden)
        yield StageResult("embeddings", _embeddings(golden, objective, joint))
        encoded, other = objective.encode(joint), objective.encode(warmup)
        yield StageResult(
            "logits",
            {
                "lcd.student_logits": encoded.student_logits.flatten(0, 1),
                "lcd.teacher_logits": encoded.teacher_logits.flatten(0, 1),
                "l.student_logits": other.student_logits.flatten(0, 1),
                "l.teacher_logits": other.teacher_logits.flatten(0, 1),
            },
        )
        yield from _loss_stages(golden, objective, joint, warmup)
    yield from _step_stages(golden, joint)
    yield StageResult("schedules", _schedules(golden))
    yield from _data_stages(golden)
    yield from _pruner_stages(golden)


# ------------------------------------------------------------------------------------------ networks


def stored_objective(golden: Golden) -> AdamV2:
    """The stored student, teacher and heads in one objective, as a joint-stage checkpoint is read."""
    model, head, loss = (golden.config[name] for name in ("backbone", "localizability_head", "loss"))
    parts, views, step = (golden.config[name] for name in ("part_heads", "views", "step"))
    encoder = ConvNextEncoder(
        ConvNextConfig(
            input_channels=model["input_channels"], depths=tuple(model["depths"]), widths=tuple(model["widths"]),
            kernel=model["kernel"], stem_stride=model["stem_stride"], mlp_ratio=model["mlp_ratio"],
            norm_epsilon=model["norm_epsilon"], drop_path=model["drop_path"],
        )
    )  # fmt: skip
    config = AdamV2Config(
        views=ViewsConfig(
            global_size=views["global_size"], local_size=views["local_size"], local_views=views["local_views"],
            branching=branching_for(parts["parts"], 2),
        ),
        prototypes=head["prototypes"], hidden_width=head["hidden_width"], bottleneck_width=head["bottleneck_width"],
        head_layers=head["layers"], head_batch_norm=head["batch_norm"], freeze_prototype_scale=head["freeze_weight_g"],
        freeze_last_layer_epochs=step["freeze_last_layer_epochs"], student_temperature=loss["student_temperature"],
        centre_momentum=loss["center_momentum"], tensor_clip_norm=step["per_tensor_clip_norm"],
        localizability_weight=loss["weight_localizability"], composability_weight=loss["weight_composability"],
        decomposability_weight=loss["weight_decomposability"], collapse_patience=0,
        decompose_norm="joint" if loss["decomposed_parts_normalised"] == "jointly" else "per_part",
    )  # fmt: skip
    objective = AdamV2(config, encoder)
    published = {name.removeprefix("module."): golden.weights[name] for name in golden.weights}
    own = {name: value for name, value in objective.state_dict().items() if _is_stored(name)}
    state, _ = KEYS.apply(published, source="weights.safetensors", target="medical3d/adam-v2", expected=own)
    objective.load_state_dict({**objective.state_dict(), **state})
    objective.centre.copy_(golden.inputs["lcd.center_before"])
    return objective


def _is_stored(name: str) -> bool:
    return not name.startswith(("centre", "watch."))


def view_number(name: str) -> int:
    """``lcd.view_03_local1`` -> 3."""
    return int(name.split("_")[1])


def stored_views(golden: Golden) -> list[Tensor]:
    """All stored views in order."""
    names = sorted((name for name in golden.inputs if name.startswith("lcd.view_")), key=view_number)
    return [golden.inputs[name] for name in names]


def joint_draws(golden: Golden) -> Produced:
    """The stored views as the objective draws them in the joint stage."""
    views, local = stored_views(golden), golden.config["views"]["local_views"]
    return {
        "whole": torch.stack(views[:1], 1), "global": torch.stack(views[1:2], 1),
        "local": torch.stack(views[2 : 2 + local], 1), "parts": torch.stack(views[2 + local :], 1),
        "teacher_temperature": temperature(golden),
    }  # fmt: skip


def warmup_draws(golden: Golden) -> Produced:
    """The first views as the localizability stage draws them."""
    views, loss = stored_views(golden), golden.config["loss"]
    shared, seen = loss["warmup_stage_teacher_views"], loss["warmup_stage_student_views"]
    return {
        "global": torch.stack(views[:shared], 1), "local": torch.stack(views[shared:seen], 1),
        "teacher_temperature": temperature(golden),
    }  # fmt: skip


def temperature(golden: Golden) -> float:
    """The teacher's, at the stored epoch."""
    loss = golden.config["loss"]
    return linear_then_constant(
        loss["teacher_temperature_start"],
        loss["teacher_temperature_end"],
        loss["teacher_temperature_warmup_epochs"],
        loss["epoch"],
    )


def _batch(golden: Golden) -> Batch:
    return Batch(inputs=None, size=golden.config["views"]["batch"])


def _embeddings(golden: Golden, objective: AdamV2, draws: Mapping[str, Any]) -> Produced:
    produced: Produced = {}
    encoded = objective.encode(draws)
    teacher = cast(ConvNextEncoder, objective.teacher_encoder)
    for number, view in enumerate(stored_views(golden)):
        produced[f"lcd.student.embed_view_{number:02d}"] = objective.encoder.embed(view)
        produced[f"lcd.teacher.embed_view_{number:02d}"] = teacher.embed(view)
    whole = stored_views(golden)[0]
    produced |= _maps(cast(ConvNext, objective.encoder.backbone), whole)
    bottleneck = objective.head.mlp(objective.encoder.embed(whole))
    assert encoded.student_whole is not None and encoded.student_parts is not None  # noqa: PT018
    assert encoded.teacher_parts is not None
    composed = objective.compose_head(encoded.student_parts.flatten(1))
    decomposed = objective.decompose_head(encoded.student_whole)
    norm = objective.config.decompose_norm
    return {
        **produced,
        "lcd.student.head_bottleneck_whole": bottleneck,
        "lcd.student.head_logits_whole": objective.head(objective.encoder.embed(whole))[0],
        "lcd.student_composed_unit": F.normalize(composed, dim=-1),
        "lcd.teacher_whole_unit": F.normalize(encoded.teacher_whole, dim=-1),
        "lcd.student_decomposed_unit": normalised_parts(decomposed, objective.views.parts, norm).flatten(1),
        "lcd.teacher_parts_unit": F.normalize(encoded.teacher_parts, dim=-1),
    }


def _maps(backbone: ConvNext, whole: Tensor) -> Produced:
    """Maps before and after each stage, from hooks."""
    produced: Produced = {}

    def keep(name: str) -> Any:  # torch's type of a hook
        def hook(module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
            produced[name] = output

        return hook

    named = (("down", backbone.downsample_layers), ("stage", backbone.stages))
    handles = [
        part.register_forward_hook(keep(f"lcd.student.whole_after_{word}{number}"))
        for word, parts in named
        for number, part in enumerate(parts)
    ]
    backbone.stages_of(whole)
    for handle in handles:
        handle.remove()
    return produced


# -------------------------------------------------------------------------------------------- losses


def _loss_stages(
    golden: Golden, objective: AdamV2, joint: Mapping[str, Any], warmup: Mapping[str, Any]
) -> Iterator[StageResult]:
    batch = _batch(golden)
    first, second = objective(batch, joint), objective(batch, warmup)
    centres = {}
    for stage, terms in (("lcd", first), ("l", second)):
        centre = golden.inputs["lcd.center_before"].clone()
        update_centre(centre, terms.carry["teacher_mean"], objective.config.centre_momentum)
        centres[f"{stage}.center_after"] = centre
    yield StageResult("centers", centres)
    yield StageResult(
        "losses",
        {
            "lcd.loss_localizability": first.terms["localizability"],
            "lcd.loss_total": first.total,
            "l.loss_localizability": second.terms["localizability"],
        },
    )
    yield StageResult(
        "part_losses",
        {f"lcd.loss_{name}": first.terms[name] for name in ("composability", "decomposability")},
    )
    yield StageResult("teacher_temperature", {"lcd.teacher_temp": temperature(golden)})


# -------------------------------------------------------------------------------------- one step


def _step_stages(golden: Golden, draws: Mapping[str, Any]) -> Iterator[StageResult]:
    facts = golden.config["step"]
    objective = stored_objective(golden)
    terms = objective(_batch(golden), draws)
    backbone = list(objective.encoder.parameters())
    norms = []
    for name in ("localizability", "composability", "decomposability"):
        found = torch.autograd.grad(terms.terms[name], backbone, retain_graph=True, allow_unused=True)
        norms.append(torch.stack([one.norm() for one in found if one is not None]).norm())
    terms.total.backward()
    published = _published_names(objective)
    by_name = {published[name]: one for name, one in objective.named_parameters() if name in published}
    raw = {name: one.grad.clone() for name, one in by_name.items() if one.grad is not None}
    wanted = facts["trainable_parameter_order"]
    produced: Produced = {
        "step.backbone_grad_norm_l_c_d": torch.stack(norms),
        "step.grad_norms_before_clip": torch.stack(clip_each_tensor([by_name[name] for name in wanted], torch.inf)),
    }
    stored = [name for name in golden.expected("gradients") if name.startswith("step.grad_raw.")]
    produced |= {name: raw[name.removeprefix("step.grad_raw.")] for name in stored}
    yield StageResult("gradients", produced)
    _make_step(golden, objective)
    after = {f"step.after.{name}": one.detach() for name, one in by_name.items()}
    gradients = {
        f"{RAW_GRADIENT}step.after.{name}": raw.get(name.replace("teacher.", "student.", 1)) for name in by_name
    }
    yield StageResult("optimizer_step", {**after, **{name: one for name, one in gradients.items() if one is not None}})


def _published_names(objective: AdamV2) -> dict[str, str]:
    """Our parameter name -> the published one, without ``module.``."""
    names = {}
    for name, value in objective.named_parameters():
        (published,) = KEYS.reverse({name: value})
        names[name] = published
    return names


def _make_step(golden: Golden, objective: AdamV2) -> None:
    """Clip, freeze, optimiser, teacher: in the order of a run."""
    facts, epoch = golden.config["step"], golden.config["loss"]["epoch"]
    steps = golden.config["schedules"]["iterations_per_epoch"]
    optimiser = build_optimiser(
        objective.named_parameters(),
        OptimiserConfig(
            name=facts["optimizer"], lr=facts["learning_rate"], betas=tuple(facts["betas"]), eps=facts["epsilon"],
            weight_decay=facts["weight_decay"],
        ),
        has_weight_decay,
    )  # fmt: skip
    objective.before_step(Progress(step=epoch * steps, total_steps=0, epoch=epoch, steps_per_epoch=steps))
    optimiser.step()
    follow(objective.teacher_encoder, objective.encoder, facts["ema_momentum"])
    follow(objective.teacher_head, objective.head, facts["ema_momentum"])


def _schedules(golden: Golden) -> Produced:
    facts = golden.config["schedules"]
    decay, steps = facts["weight_decay"], facts["epochs"] * facts["iterations_per_epoch"]
    settings = OptimiserConfig(weight_decay=decay["start"], final_weight_decay=decay["end"])
    values = [weight_decay_at(step, steps, settings) for step in range(steps)]
    produced: Produced = {"sched.wd": torch.tensor(values, dtype=torch.float64)}
    for name, stored in (("lr", "learning_rate"), ("ema", "ema_momentum")):
        one = facts[stored]
        produced[f"sched.{name}"] = cosine_schedule(
            one["start"], one["end"], facts["epochs"], facts["iterations_per_epoch"],
            warmup_epochs=one["warmup_epochs"], warmup_start=one.get("warmup_start", 0.0),
        )  # fmt: skip
    return produced


# ---------------------------------------------------------------------------------------------- data


def _data_stages(golden: Golden) -> Iterator[StageResult]:
    facts, inputs = golden.config["data"], golden.inputs
    image = inputs["data.image_uint8_hwc"]
    branching = branching_for(facts["parts"], 2)
    anchor = inputs["data.anchor_y0_x0_h_w"].float()
    whole = crop_box(image, Boxes(anchor[:2], anchor[2:]))
    octants = golden.config["octants"]
    volume = inputs["design3d.volume_zyx"]
    yield StageResult(
        "integer_data",
        {
            "data.n0_parts_uint8": split_pixels(image, branching),
            "data.anchor_whole_uint8": whole,
            "data.anchor_parts_uint8": split_pixels(whole, branching),
            "design3d.octants": split_pixels(volume, tuple(octants["branching_zyx"])),
        },
    )
    boxes, crops = [], []
    local = golden.config["views"]["local_size"]
    full = Boxes(torch.zeros(2), torch.tensor([float(edge) for edge in image.shape[:2]]))
    for fraction, aspect in inputs["data.center_area_aspect"]:
        half = aspect.log() / 2
        sides, fits = centred_sides(full.extent, fraction, torch.stack([-half, half]))
        box = Boxes(centred_origin(full, sides), sides)
        boxes.append(box.stacked().long() if bool(fits) else torch.full((4,), -1))
        crops.append(
            resized_pixels(crop_box(image, box), (local, local))
            if bool(fits)
            else torch.zeros(local, local, image.shape[2], dtype=torch.uint8)
        )
    yield StageResult("center_boxes", {"data.center_box_y_x_h_w": torch.stack(boxes)})
    yield StageResult("center_crops", {"data.center_crop_bicubic_uint8": torch.stack(crops)})
    size = golden.config["views"]["global_size"]
    squashed = resized_pixels(image, (size, size)).movedim(-1, 0)[None] / 255
    encoder = ConvNextEncoder(
        ConvNextConfig(
            depths=(1,), widths=(1,), input_channels=image.shape[2], mean=tuple(facts["image_mean"]),
            deviation=tuple(facts["image_std"]),
        )
    )  # fmt: skip
    yield StageResult("resized_whole", {"data.whole_resized_normalised": encoder.standardised(squashed)[0]})


def _pruner_stages(golden: Golden) -> Iterator[StageResult]:
    facts, inputs = golden.config["pruner"], golden.inputs
    positive, negative = similarities(inputs["v1.q"], inputs["v1.k"], inputs["v1.queue"])
    keep = kept(negative, facts["threshold"])
    temperature_ = facts["temperature"]
    yield StageResult(
        "pruner_logits",
        {"v1.logits": contrast_logits(positive, negative, temperature_), "v1.neg_cosine": negative},
    )
    yield StageResult("pruner_mask", {"v1.keep_mask": keep.to(torch.uint8)})
    losses = {
        "v1.loss_pruned": pruned_info_nce(positive, negative, keep, temperature_),
        "v1.loss_unpruned": pruned_info_nce(positive, negative, kept(negative, None), temperature_),
    }
    yield StageResult("pruner_losses", losses)
