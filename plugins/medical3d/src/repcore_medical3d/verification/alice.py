"""Replay of golden Alice data: every stored tensor through the public classes and the published key maps.

Symbols: as in the golden folder's README; query crops first, key crops second; stored maps of the encoder are channels
first, those of the decoder channels last.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repcore.config import OptimiserConfig
from repcore.errors import DataError
from repcore.interfaces import Batch, StageResult
from repcore.nn.ema import cosine_momentum
from repcore.training.optimisers import weight_decay_at
from repcore.verification.golden import Golden
from repcore.verification.run import ROUNDING, measured_rounding
from repcore_medical3d.checkpoints.alice import CASA_KEYS, KEYS, convert
from repcore_medical3d.checkpoints.anatomical_embedding import convert_embedding
from repcore_medical3d.configs.alice import PUBLISHED_ALICE, AliceConfig
from repcore_medical3d.correspondence.matching import best_cells_full, point_vectors, similarity
from repcore_medical3d.encoders.nnformer import NnFormer
from repcore_medical3d.objectives.alice import (
    INTER,
    INTRA,
    KEY,
    QUERY,
    RECONSTRUCTION,
    Alice,
    clip_each,
    teacher_temperature,
)
from repcore_medical3d.objectives.alice_parts import voxel_mask
from repcore_medical3d.preprocessors.volumes import block, centred_start

Produced = dict[str, Any]  # tensor or number by stored name
STUDENT, TEACHER, CASA, NETWORK = "student.", "teacher.", "casa.", "sam."


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """All stages of a folder; the losses can be fed with stored head and alignment outputs."""
    if "losses" in fed:
        objective = _objective(golden)
        yield StageResult("losses", _fed_losses(golden, objective))
        return
    yield StageResult("crops", {"crop.key": _crop(golden, KEY)})
    objective = _objective(golden)
    yield from _forward_stages(golden, objective)
    yield from _training_stages(golden, objective)
    yield StageResult("schedules", _schedules(golden))
    yield from _embedding_stages(golden)


# ---------------------------------------------------------------------------------------------------- parts


def _below(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): weights[name] for name in weights if name.startswith(prefix)}


def _config(golden: Golden) -> AliceConfig:
    facts = golden.config
    head, casa, loss, mask = (facts[name] for name in ("head", "casa", "loss", "masking"))
    _expect(head["activation"], "gelu", "head.activation")
    _expect(loss["reconstruction_region"], "all_voxels", "loss.reconstruction_region")
    _expect(mask["columns_along_last_axis"], True, "masking.columns_along_last_axis")
    _expect(mask["hidden_voxels_set_to"], 0.0, "masking.hidden_voxels_set_to")
    _expect(casa["value_width"], casa["key_width"], "casa.value_width")
    return replace(
        PUBLISHED_ALICE,
        output_width=head["output_width"], hidden_width=head["hidden_width"],
        bottleneck_width=head["bottleneck_width"], is_last_layer_tied=head["teacher_shares_last_layers"],
        alignment_heads=casa["attention_heads"], alignment_key_width=casa["key_width"],
        alignment_hidden_width=casa["feed_forward_width"], alignment_dropout=casa["dropout"],
        mask_patch=mask["patch"], mask_ratio=mask["ratio"],
        student_temperature=loss["student_temperature"], teacher_temperature=loss["teacher_temperature_end"],
        teacher_temperature_start=loss["teacher_temperature_start"],
        teacher_temperature_warmup=(loss["teacher_temperature_warmup_epochs"] - 1) / loss["epochs"],
        center_momentum=loss["center_momentum"], inter_volume_weight=loss["weight_inter_volume"],
        intra_volume_weight=loss["weight_intra_volume"], reconstruction_weight=loss["weight_reconstruction"],
        clip_per_tensor=golden.config["gradient_clipping"]["per_tensor_norm"],
        ema_start=golden.config["ema"]["momentum"],
    )  # fmt: skip


def _expect(got: object, wanted: object, name: str) -> None:
    if got != wanted:
        raise DataError(f"{name}={got!r} is not what this system computes", expected=wanted)


def _encoder(golden: Golden, prefix: str) -> tuple[NnFormer, dict[str, Tensor]]:
    """An encoder read as a published checkpoint with the stored position table, and the head's tensors."""
    facts = golden.config["backbone"]
    state = _below(golden.weights, prefix)
    imported = convert(state, Path("weights.safetensors"), {"crop_edge": str(facts["crop_edge"])})
    config = replace(imported.encoder_config, norm_epsilon=facts["norm_epsilon"], drop_path=facts["drop_path"])
    for name, key in (("windows", "windows"), ("heads", "attention_heads"), ("depths", "depths")):
        _expect(list(getattr(config, name)), facts[key], f"backbone.{key}")
    _expect(config.width, facts["embedding_width"], "backbone.embedding_width")
    _expect(config.mlp_ratio, facts["mlp_ratio"], "backbone.mlp_ratio")
    encoder = NnFormer(config)
    table = golden.inputs[f"pos_embed.{prefix.rstrip('.')}"]
    encoder.load_state_dict({**imported.state, "positions": table[0]})
    return encoder, dict(imported.heads["objective"])


def _objective(golden: Golden) -> Alice:
    """Student, teacher and alignment with the stored weights and centres, in eval mode."""
    encoder, head = _encoder(golden, STUDENT)
    teacher, teacher_head = _encoder(golden, TEACHER)
    objective = Alice(_config(golden), encoder).eval()
    objective.head.load_state_dict({name.removeprefix("head."): value for name, value in head.items()})
    objective.teacher_encoder.load_state_dict(teacher.state_dict())
    objective.teacher_head.load_state_dict({name.removeprefix("head."): value for name, value in teacher_head.items()})
    casa, _ = CASA_KEYS.apply(
        {name.removeprefix("module."): value for name, value in _below(golden.weights, CASA).items()},
        source="weights.safetensors", target="alignment",
        expected={f"alignment.{name}": value for name, value in objective.alignment.state_dict().items()},
    )  # fmt: skip
    objective.alignment.load_state_dict({name.removeprefix("alignment."): value for name, value in casa.items()})
    objective.center.copy_(golden.inputs["center"])
    objective.token_center.copy_(golden.inputs["center2"])
    epsilon = golden.config["casa"]["norm_epsilon"]
    objective.alignment.attention_norm.eps = objective.alignment.mlp_norm.eps = epsilon
    return objective


def _crop(golden: Golden, name: str) -> Tensor:
    """The cube around a point of a volume, (1, 1, S, S, S)."""
    edge = golden.config["backbone"]["crop_edge"]
    point = [int(one) for one in golden.inputs[f"point_{name}"]]
    return block(golden.inputs[f"vol_{name}"][0], centred_start(point, edge), (edge, edge, edge))[None]


def _batch(golden: Golden) -> Batch:
    views = {name: Batch(inputs={"volume": _crop(golden, name)}, size=1) for name in (QUERY, KEY)}
    return Batch(inputs=None, size=1, views=views)


def _draws(golden: Golden) -> dict[str, Tensor]:
    loss = golden.config["loss"]
    masks = [golden.inputs[f"mask_{name}"][:, 0].bool() for name in (QUERY, KEY)]
    temperature = teacher_temperature(_config(golden), loss["epoch"] / loss["epochs"])
    return {
        "hidden": torch.cat(masks),
        "teacher_temperature": torch.tensor(temperature),
        "distillation_factor": torch.tensor(1.0),
    }


# -------------------------------------------------------------------------------------------------- forward


@torch.no_grad()
def _forward_stages(golden: Golden, objective: Alice) -> Iterator[StageResult]:
    volumes = torch.cat([_crop(golden, name) for name in (QUERY, KEY)])
    hidden = _draws(golden)["hidden"]
    encoder, teacher = objective.encoder, objective.teacher_encoder
    assert isinstance(encoder, NnFormer)
    assert isinstance(teacher, NnFormer)
    masked = volumes.masked_fill(voxel_mask(hidden, encoder.stem_stride), 0.0)
    rounding = measured_rounding(partial(_maps, objective, masked, volumes))
    stem = encoder.stem(masked).movedim(-1, 1)
    yield _stored(golden, "patch_embedding", {"student.patch_embed": stem}, rounding)
    for prefix, network, head, given in (
        (STUDENT, encoder, objective.head, masked), (TEACHER, teacher, objective.teacher_head, volumes),
    ):  # fmt: skip
        pyramid = network.pyramid(given)
        maps = {f"{prefix}skip{number}": one.movedim(-1, 1) for number, one in enumerate(pyramid)}
        pooled = pyramid[-1].mean(dim=(1, 2, 3))
        yield _stored(golden, "encoder", {**maps, f"{prefix}cls": pooled}, rounding)
        decoded = network.decode(pyramid)
        maps = {f"{prefix}dec{number}": one for number, one in enumerate(decoded)}
        yield _stored(golden, "decoder", maps, rounding)
        found = head(pooled, pyramid[-1].flatten(1, 3), decoded[0].flatten(1, 3))
        outputs = {"cls": found.pooled, "en": found.encoder, "de": _published_order(found.decoder)}
        yield StageResult("heads", {f"{prefix}out.{name}": value for name, value in outputs.items()})
        redrawn = network.reconstruction(decoded[-1].movedim(-1, 1))
        yield StageResult("reconstruction", {f"{prefix}out.recon": redrawn})
    student, _ = objective.student(volumes, hidden)
    assert student is not None
    own, target = objective.aligned(student, objective.teacher(volumes))
    assert student.decoder is not None
    attention = objective.alignment.attention(student.encoder, _published_order(student.decoder))
    facts = golden.config["casa"]
    yield StageResult(
        "casa",
        {
            "casa.student": own,
            "casa.teacher": target,
            "casa.mha_student": objective.alignment.attend(student.encoder, student.decoder),
            "casa.attn_student": attention[: facts["attention_samples_stored"], : facts["attention_heads_stored"]],
        },
    )


@torch.no_grad()
def _maps(objective: Alice, masked: Tensor, volumes: Tensor, dtype: torch.dtype, factor: float) -> dict[str, Tensor]:
    """Feature maps by stored name. Norms over the two channels of a small stem amplify rounding, which differs from
    processor to processor, so the comparison is told by how much."""
    maps: dict[str, Tensor] = {}
    for prefix, network, given in (
        (STUDENT, objective.encoder, masked), (TEACHER, objective.teacher_encoder, volumes),
    ):  # fmt: skip
        encoder = copy.deepcopy(network).to(dtype)
        assert isinstance(encoder, NnFormer)
        values = given.to(dtype) * factor
        pyramid = encoder.pyramid(values)
        maps[f"{prefix}patch_embed"] = encoder.stem(values).movedim(-1, 1)
        maps.update({f"{prefix}skip{number}": one.movedim(-1, 1) for number, one in enumerate(pyramid)})
        maps.update({f"{prefix}dec{number}": one for number, one in enumerate(encoder.decode(pyramid))})
    return maps


def _published_order(tokens: Tensor) -> Tensor:
    """Decoder tokens (B, T, K) of a cube: the published head turns the axes of the map before it flattens it."""
    edge = round(tokens.shape[1] ** (1 / 3))
    return tokens.unflatten(1, (edge, edge, edge)).permute(0, 2, 3, 1, 4).flatten(1, 3)


def _stored(golden: Golden, stage: str, produced: Produced, rounding: Mapping[str, Tensor]) -> StageResult:
    """Only what the folder holds: it keeps fewer maps of the teacher than of the student. Each with its rounding."""
    names = set(golden.expected(stage))
    kept = {name: value for name, value in produced.items() if name in names}
    beside = {ROUNDING + name: rounding[ROUNDING + name] for name in kept if ROUNDING + name in rounding}
    return StageResult(stage, {**kept, **beside})


def _loss_values(terms: Mapping[str, Tensor], config: AliceConfig) -> Produced:
    values = {
        "loss.cls": terms[INTER] * config.inter_volume_weight,
        "loss.patch": terms[INTRA] * config.intra_volume_weight,
        "loss.recon": terms[RECONSTRUCTION] * config.reconstruction_weight,
    }
    return {**values, "loss.loss": torch.stack(list(values.values())).sum()}


@torch.no_grad()
def _fed_losses(golden: Golden, objective: Alice) -> Produced:
    """The three terms from stored head and alignment outputs."""
    stored, draws = golden.outputs, _draws(golden)
    temperature = draws["teacher_temperature"]
    volumes = torch.cat([_crop(golden, name) for name in (QUERY, KEY)])
    error, _ = objective.reconstruction_error(volumes, stored["student.out.recon"], draws["hidden"])
    terms = {
        INTER: objective.inter_volume(stored["student.out.cls"], stored["teacher.out.cls"], temperature),
        INTRA: objective.intra_volume(stored["casa.student"], stored["casa.teacher"], temperature),
        RECONSTRUCTION: error,
    }
    return _shaped(golden, _loss_values(terms, objective.config))


def _shaped(golden: Golden, produced: Produced) -> Produced:
    """Scalars in the stored shape."""
    return {name: torch.as_tensor(value).detach().view(golden.outputs[name].shape) for name, value in produced.items()}


# ------------------------------------------------------------------------------------------------- training


def _training_stages(golden: Golden, objective: Alice) -> Iterator[StageResult]:
    draws = _draws(golden)
    losses = objective(_batch(golden), draws)
    yield StageResult("losses", _shaped(golden, _loss_values(losses.terms, objective.config)))
    temperature = {"teacher_temp": draws["teacher_temperature"]}
    yield StageResult("teacher_temperature", _shaped(golden, temperature))
    losses.total.backward()
    yield StageResult("gradient_norms", _gradient_norms(objective))
    named = _named_gradients(golden, objective)
    raw = {f"grad.{name}": value.clone() for name, value in named.items()}
    clip_each(
        [*objective.encoder.parameters(), *objective.head.parameters()], float(objective.config.clip_per_tensor or 0)
    )
    clipped = {f"grad_clipped.{name}": value.clone() for name, value in named.items()}
    yield _stored(golden, "gradients", {**raw, **clipped}, {})
    with torch.no_grad():
        for center, new in (("center", "center.new"), ("token_center", "center2.new")):
            moved = getattr(objective, center).lerp(losses.carry[center], 1 - objective.config.center_momentum)
            yield StageResult("centers", {new: moved})
        objective.follow(golden.config["ema"]["momentum"])
        yield StageResult("ema", _teacher_weights(golden, objective))


def _network_names(objective: Alice) -> Iterator[tuple[str, nn.Parameter]]:
    """Published name with its network in front -> parameter that gets a gradient."""
    parts = (("student.module.", KEYS, ("encoder", "head")), ("casa.module.", CASA_KEYS, ("alignment",)))
    for prefix, keys, names in parts:
        ours = {f"{part}.{name}": one for part in names for name, one in getattr(objective, part).named_parameters()}
        for name, parameter in ours.items():
            (published,) = keys.reverse({name: torch.zeros(())})
            if parameter.grad is not None:
                yield prefix + published, parameter


def _gradient_norms(objective: Alice) -> Produced:
    return {name: float(torch.as_tensor(one.grad).norm()) for name, one in _network_names(objective)}


def _named_gradients(golden: Golden, objective: Alice) -> dict[str, Tensor]:
    """Gradients under the short names that the folder's README explains."""
    encoder = objective.encoder
    assert isinstance(encoder, NnFormer)
    first = encoder.stem.convolutions[0].weight
    gradients = {
        "casa.w_qs": objective.alignment.query.weight.grad,
        "student.patch_embed.conv1.weight": first.grad,
        "recon_head.weight": encoder.reconstruction.weight.grad,
    }
    return {name: torch.as_tensor(value) for name, value in gradients.items()}


def _teacher_weights(golden: Golden, objective: Alice) -> Produced:
    """Stored names are published names, the backbone's without its ``backbone.``."""
    ours = {f"encoder.{name}": value for name, value in objective.teacher_encoder.state_dict().items()}
    ours.pop("encoder.positions")
    ours |= {f"head.{name}": value for name, value in objective.teacher_head.state_dict().items()}
    published = {f"ema.{name.removeprefix('backbone.')}": value for name, value in KEYS.reverse(ours).items()}
    return {name: published[name] for name in golden.expected("ema") if name in published}


def _schedules(golden: Golden) -> Produced:
    """Cosine from start to end after a linear warm-up, a value an iteration."""
    facts = golden.config["schedules"]
    per_epoch = facts["iterations_per_epoch"]
    total = facts["epochs"] * per_epoch
    names = {"sched.lr": "learning_rate", "sched.ema": "ema_momentum"}
    decay = facts["weight_decay"]
    settings = OptimiserConfig(weight_decay=decay["start"], final_weight_decay=decay["end"])
    values = [weight_decay_at(step, total, settings) for step in range(total)]
    produced = {"sched.wd": torch.tensor(values, dtype=golden.outputs["sched.wd"].dtype)}
    for stored, key in names.items():
        one = facts[key]
        warmup = one["warmup_epochs"] * per_epoch
        first = torch.linspace(one.get("warmup_start", 0.0), one["start"], warmup, dtype=torch.float64)
        rest = [cosine_momentum(one["start"], one["end"], step / (total - warmup)) for step in range(total - warmup)]
        produced[stored] = torch.cat([first, torch.tensor(rest, dtype=torch.float64)]).to(golden.outputs[stored].dtype)
    return produced


# -------------------------------------------------------------------------------------- anatomical embedding


@torch.no_grad()
def _embedding_stages(golden: Golden) -> Iterator[StageResult]:
    facts = golden.config["anatomical_embedding"]
    network, _ = convert_embedding(_below(golden.weights, NETWORK), "weights.safetensors")
    _expect(network.base, facts["base_width"], "anatomical_embedding.base_width")
    _expect(network.width, facts["embedding_width"], "anatomical_embedding.embedding_width")
    query, key = golden.inputs["sam.query"], golden.inputs["sam.key"]
    maps = network.stage_maps(query)
    fine_query, coarse_query = network(query)
    fine_key, coarse_key = network(key)
    produced = {
        "sam.stage1": maps[1], "sam.stage3": maps[3], "sam.fine_query": fine_query,
        "sam.coarse_query": coarse_query, "sam.coarse_key": coarse_key,
    }  # fmt: skip
    yield StageResult("anatomical_embedding", produced)
    step, offset = facts["fine_grid_step_voxels"], facts["match_offset_voxels"]
    cells = golden.inputs["sam.points_xyz"].long().flip(-1) // step
    vectors = point_vectors(fine_query[0], coarse_query[0], cells)
    scores = similarity(vectors, fine_key[0], coarse_key[0])
    best, score = best_cells_full(vectors, fine_key[0], coarse_key[0])
    yield StageResult("match_scores", {"sam.sim": scores, "sam.match_score": score})
    matched = (best * step + offset).flip(-1).to(golden.outputs["sam.match_xyz"].dtype)
    yield StageResult("match_points", {"sam.match_xyz": matched})
