"""A slow RoBERTa over SELFIES in plain torch functions, and golden folders made with it.

Written from the method card's formulas, without any class of the plugin: published key names, three separate
projections, per-molecule loops, padding that is computed like everything else.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import selfies
import tokenizers
import torch
import torch.nn.functional as F
from rdkit import Chem
from rdkit.Chem.Scaffolds import MurckoScaffold
from rdkit.rdBase import BlockLogs
from safetensors.torch import save_file
from torch import Tensor

SPECIALS = ["<unk>", "<s>", "</s>", "<pad>", "<mask>"]
SMILES = [
    "CCO", "c1ccccc1", "CC(=O)Oc1ccccc1C(=O)O", "C[N+](C)(C)CC(=O)[O-]", "OC[C@H](N)C(=O)O",
    "CN1C=NC2=C1C(=O)N(C)C(=O)N2C",
    "ClC(Cl)=C(Cl)Cl", "C/C=C/C", "[Na+].[Cl-]", "O=C1CCCN1", "c1ccc2ccccc2c1", "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
]  # fmt: skip
REFUSED = ["C1CC", "O=N(=O)c1ccccc1", " CCO ", ""]


@dataclass(frozen=True)
class Variant:
    """One golden folder to make."""

    seed: int
    rows: int
    width: int
    layers: int
    heads: int
    feed_forward: int
    positions: int
    molecules: int
    length: int
    padding_id: int
    epsilon: float
    scheme: str
    split_seed: int
    classes: int


VARIANTS = (
    Variant(7, 60, 24, 2, 3, 40, 48, 4, 40, 1, 1e-12, "fast", 42, 4),
    Variant(19, 90, 20, 4, 5, 28, 70, 3, 56, 3, 1e-5, "slow", 5, 3),
)


def vocabulary(seed: int) -> tuple[list[str], list[str]]:
    """Single characters of the molecules' SELFIES in a seeded order, and a few merges."""
    texts = [selfies.encoder(Chem.CanonSmiles(one)) for one in SMILES]
    letters = sorted(set("".join(texts)) - set("[]"))
    random.Random(seed).shuffle(letters)
    pairs = [
        ("B", "r"),
        ("a", "n"),
        ("Br", "an"),
        ("c", "h"),
        ("Bran", "ch"),
        ("R", "i"),
        ("n", "g"),
        ("Ri", "ng"),
        ("=", "C"),
    ]
    merges = [pair for pair in pairs if all(char in letters for char in "".join(pair))]
    tokens = [*SPECIALS, *letters, *("".join(pair) for pair in merges)]
    return tokens, [" ".join(pair) for pair in merges]


def library_ids(tokens: list[str], merges: list[str], text: str, limit: int | None = None) -> list[int]:
    """``fast`` ids by the tokenizers library."""
    model = tokenizers.models.BPE(
        vocab={token: i for i, token in enumerate(tokens)}, merges=[tuple(one.split(" ")) for one in merges]
    )
    engine = tokenizers.Tokenizer(model)
    engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 1), add_prefix_space=False)
    if limit is not None:
        engine.enable_truncation(limit)
    return list(engine.encode(text).ids)


def merged(word: list[str], merges: list[str]) -> list[str]:
    for (
        rule
    ) in merges:  # ranks in order: each rule is exhausted before the next, as these merges never undo one another
        left, right = rule.split(" ")
        i = 0
        while i < len(word) - 1:
            if word[i] == left and word[i + 1] == right:
                word[i : i + 2] = [left + right]
            else:
                i += 1
    return word


def runs(text: str) -> list[str]:
    kinds = ["letter" if c.isalpha() else "digit" if c.isdigit() else "other" for c in text]
    out: list[str] = []
    for i, char in enumerate(text):
        if i and kinds[i] == kinds[i - 1]:
            out[-1] += char
        else:
            out.append(char)
    return out


def plain_ids(tokens: list[str], merges: list[str], scheme: str, text: str) -> list[int]:
    """``slow`` and ``bracket`` ids by their rules."""
    words = text.replace("[", "]").split("]") if scheme == "bracket" else runs(text)
    ids = [1]
    for word in words:
        pieces = merged([c for c in word if scheme == "slow" or c in tokens], merges)
        ids += [tokens.index(piece) if piece in tokens else 0 for piece in pieces]
    return [*ids, 2]


def token_ids(tokens: list[str], merges: list[str], scheme: str, text: str) -> list[int]:
    return library_ids(tokens, merges, text) if scheme == "fast" else plain_ids(tokens, merges, scheme, text)


def weights(variant: Variant, generator: torch.Generator) -> dict[str, Tensor]:
    width, inner = variant.width, variant.feed_forward

    def random(*shape: int, around: float = 0.0) -> Tensor:
        return around + 0.3 * torch.randn(*shape, generator=generator)

    def linear(name: str, rows: int, columns: int) -> dict[str, Tensor]:
        return {f"{name}.weight": random(rows, columns), f"{name}.bias": random(rows)}

    def norm(name: str) -> dict[str, Tensor]:
        return {f"{name}.weight": random(width, around=1.0), f"{name}.bias": random(width)}

    state: dict[str, Tensor] = {"roberta.embeddings.position_ids": torch.arange(variant.positions)[None]}
    for name, rows in (("word", variant.rows), ("position", variant.positions), ("token_type", 1)):
        state[f"roberta.embeddings.{name}_embeddings.weight"] = random(rows, width)
    state |= norm("roberta.embeddings.LayerNorm")
    for i in range(variant.layers):
        prefix = f"roberta.encoder.layer.{i}"
        for part in ("query", "key", "value"):
            state |= linear(f"{prefix}.attention.self.{part}", width, width)
        state |= linear(f"{prefix}.attention.output.dense", width, width) | norm(f"{prefix}.attention.output.LayerNorm")
        state |= linear(f"{prefix}.intermediate.dense", inner, width) | linear(f"{prefix}.output.dense", width, inner)
        state |= norm(f"{prefix}.output.LayerNorm")
    state |= linear("lm_head.dense", width, width) | norm("lm_head.layer_norm")
    state["lm_head.bias"] = random(variant.rows)
    state["lm_head.decoder.bias"] = state["lm_head.bias"].clone()
    state["lm_head.decoder.weight"] = state["roberta.embeddings.word_embeddings.weight"].clone()
    for head, outputs in (("binary", 2), ("regression", 1), ("multilabel", variant.classes)):
        state |= linear(f"finetune_{head}.classifier.dense", width, width)
        state |= linear(f"finetune_{head}.classifier.out_proj", outputs, width)
    return state


def position_ids(ids: Tensor, padding_id: int) -> Tensor:
    out = torch.full_like(ids, padding_id)
    for row in range(ids.shape[0]):
        count = 0
        for column in range(ids.shape[1]):
            if int(ids[row, column]) != padding_id:
                count += 1
                out[row, column] = count + padding_id
    return out


def encode(state: Mapping[str, Tensor], ids: Tensor, mask: Tensor | None, variant: Variant) -> list[Tensor]:
    """Hidden states of every layer, embedding output first."""
    width, heads, padding_id = variant.width, variant.heads, variant.padding_id

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (width,), state[f"{name}.weight"], state[f"{name}.bias"], variant.epsilon)

    embeddings = "roberta.embeddings."
    words = F.embedding(ids, state[embeddings + "word_embeddings.weight"], padding_idx=padding_id)
    table = state[embeddings + "position_embeddings.weight"]
    places = F.embedding(position_ids(ids, padding_id), table, padding_idx=padding_id)
    hidden = norm(embeddings + "LayerNorm", words + places + state[embeddings + "token_type_embeddings.weight"][0])
    states = [hidden]
    for i in range(variant.layers):
        prefix = f"roberta.encoder.layer.{i}."
        q, k, v = (
            linear(f"{prefix}attention.self.{part}", hidden).unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(-1, -2) / (width // heads) ** 0.5
        if mask is not None:
            scores = scores + (1.0 - mask[:, None, None].float()) * -1e9
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        hidden = norm(f"{prefix}attention.output.LayerNorm", hidden + linear(f"{prefix}attention.output.dense", mixed))
        inner = F.gelu(linear(f"{prefix}intermediate.dense", hidden))
        hidden = norm(f"{prefix}output.LayerNorm", hidden + linear(f"{prefix}output.dense", inner))
        states.append(hidden)
    return states


def language_logits(state: Mapping[str, Tensor], hidden: Tensor, variant: Variant) -> Tensor:
    inner = F.gelu(hidden @ state["lm_head.dense.weight"].T + state["lm_head.dense.bias"])
    inner = F.layer_norm(
        inner, (variant.width,), state["lm_head.layer_norm.weight"], state["lm_head.layer_norm.bias"], variant.epsilon
    )
    return inner @ state["roberta.embeddings.word_embeddings.weight"].T + state["lm_head.bias"]


def make_inputs(
    variant: Variant, tokens: list[str], merges: list[str], generator: torch.Generator
) -> dict[str, Tensor]:
    texts = [selfies.encoder(one) for one in SMILES[: variant.molecules]]
    ids = torch.full((variant.molecules, variant.length), 3)
    for row, text in enumerate(texts):
        found = token_ids(tokens, merges, variant.scheme, text)
        found = found if len(found) <= variant.length else [*found[: variant.length - 1], 2]
        ids[row, : len(found)] = torch.tensor(found)
    draws = {
        name: torch.rand(ids.shape, generator=generator) for name in ("mlm_u_select", "mlm_u_replace", "mlm_u_random")
    }
    draws["mlm_u_select"] *= 0.5  # enough selected tokens in so few molecules
    inputs = {"input_ids": ids, "attention_mask": (ids != 3).long(), "special_tokens_mask": (ids < 5).long(), **draws}
    inputs["mlm_random_words"] = torch.randint(len(tokens), ids.shape, generator=generator)
    shown, labels = ids.clone(), torch.full_like(ids, -100)
    for place in (ids >= 5).nonzero().tolist():
        at = tuple(place)
        if inputs["mlm_u_select"][at] < 0.2:
            labels[at] = ids[at]
            if inputs["mlm_u_replace"][at] < 0.7:
                shown[at] = 4
            elif inputs["mlm_u_random"][at] < 0.4:
                shown[at] = inputs["mlm_random_words"][at]
    inputs |= {"mlm_input_ids": shown, "mlm_labels": labels}
    inputs["labels_binary"] = torch.randint(2, (variant.molecules,), generator=generator)
    inputs["labels_regression"] = torch.randn(variant.molecules, generator=generator)
    inputs["labels_multilabel"] = torch.randint(2, (variant.molecules, variant.classes), generator=generator).float()
    return inputs


def make_outputs(variant: Variant, state: dict[str, Tensor], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    ids, shown, mask = inputs["input_ids"], inputs["mlm_input_ids"], inputs["attention_mask"]
    selected = inputs["mlm_labels"] != -100
    truth = inputs["mlm_labels"][selected]
    leaves = {name: value.clone().requires_grad_(value.is_floating_point()) for name, value in state.items()}
    open_states = encode(leaves, shown, None, variant)
    open_logits = language_logits(leaves, open_states[-1], variant)
    loss = F.cross_entropy(open_logits[selected], truth)
    graded = [
        "roberta.embeddings.word_embeddings.weight", "roberta.embeddings.position_embeddings.weight",
        "roberta.encoder.layer.1.attention.self.key.bias", "roberta.encoder.layer.0.intermediate.dense.weight",
        "lm_head.bias",
    ]  # fmt: skip
    grads = torch.autograd.grad(loss, [leaves[name] for name in graded])
    closed = language_logits(state, encode(state, shown, mask, variant)[-1], variant)[selected]
    last = encode(state, ids, mask, variant)[-1]
    alone = []
    for row, length in zip(ids, mask.sum(1).tolist(), strict=True):
        alone.append(encode(state, row[None, :length], None, variant)[-1][0].mean(0))
    out = {f"pretrain_nomask.hidden.{i}": hidden for i, hidden in enumerate(open_states)}
    out |= {
        "position_ids": position_ids(ids, variant.padding_id),
        "pretrain_nomask.logits": open_logits[:2], "pretrain_nomask.loss": loss[None],
        "pretrain_mask.logits_at_masked": closed, "pretrain_mask.loss": F.cross_entropy(closed, truth)[None],
        "encoder_mask.last_hidden": last, "embed.reference_one_by_one": torch.stack(alone),
        "embed.masked_mean_batched": torch.stack(alone), "embed.cls": last[:, 0],
        **{f"grad.{name}": value for name, value in zip(graded, grads, strict=True)},
    }  # fmt: skip
    losses = {
        "binary": lambda x: F.cross_entropy(x, inputs["labels_binary"]),
        "regression": lambda x: (x[:, 0] - inputs["labels_regression"]).square().mean(),
        "multilabel": lambda x: (
            -(
                inputs["labels_multilabel"] * F.logsigmoid(x) + (1 - inputs["labels_multilabel"]) * F.logsigmoid(-x)
            ).mean()
        ),
    }
    for head, rule in losses.items():
        name = f"finetune_{head}.classifier."
        inner = torch.tanh(last[:, 0] @ state[name + "dense.weight"].T + state[name + "dense.bias"])
        logits = inner @ state[name + "out_proj.weight"].T + state[name + "out_proj.bias"]
        out |= {f"finetune_{head}.logits": logits, f"finetune_{head}.loss": rule(logits)[None]}
    return {name: value.detach().contiguous() for name, value in out.items()}


def refused_or(action: Any, text: str) -> Any:
    try:
        return action(text)
    except selfies.EncoderError:
        return None


def tokenizer_lines(tokens: list[str], merges: list[str], limit: int) -> list[dict[str, Any]]:
    lines = []
    for smiles in [*SMILES, *REFUSED]:
        mol = Chem.MolFromSmiles(smiles)
        line: dict[str, Any] = {"smiles": smiles, "rdkit_canonical": None if mol is None else Chem.MolToSmiles(mol)}
        text = refused_or(selfies.encoder, smiles)
        line["selfies"] = text
        if text is not None:
            line["symbols"] = list(selfies.split_selfies(text))
            for scheme in ("fast", "slow", "bracket"):
                line[f"{scheme}_w"] = token_ids(tokens, merges, scheme, text)
            cut = library_ids(tokens, merges, text, limit)
            line |= {f"fast_w_trunc{limit}_len": len(cut), f"fast_w_trunc{limit}_last": cut[-3:]}
        lines.append(line)
    return lines


def scaffold_split(smiles: list[str], fractions: list[float], seed: int) -> dict[str, Any]:
    groups: dict[str, list[int]] = {}
    valid = 0
    for row, text in enumerate(smiles):
        mol = Chem.MolFromSmiles(text)
        if mol is not None:
            valid += 1
            groups.setdefault(MurckoScaffold.MurckoScaffoldSmiles(mol=mol, includeChirality=False), []).append(row)
    sizes = [share * valid for share in fractions]
    big = [rows for rows in groups.values() if len(rows) > sizes[1] / 2 or len(rows) > sizes[2] / 2]
    small = [rows for rows in groups.values() if rows not in big]
    source = random.Random(seed)
    source.shuffle(big)
    source.shuffle(small)
    parts: list[list[int]] = [[], [], []]
    for rows in big + small:
        place = next((p for p in (0, 1) if len(parts[p]) + len(rows) <= sizes[p]), 2)
        parts[place] += rows
    return {"n_rows": len(smiles), "n_valid": valid, **dict(zip(("train", "val", "test"), parts, strict=True))}


def write_folder(folder: Path, variant: Variant) -> Path:
    """A complete golden folder of format 1; RDKit's log is silent meanwhile, and only meanwhile."""
    silence = BlockLogs()
    try:
        return _write_folder(folder, variant)
    finally:
        del silence


def _write_folder(folder: Path, variant: Variant) -> Path:
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(variant.seed)
    tokens, merges = vocabulary(variant.seed)
    state = weights(variant, generator)
    inputs = make_inputs(variant, tokens, merges, generator)
    outputs = make_outputs(variant, state, inputs)
    save_file(state, folder / "weights.safetensors")
    save_file(inputs, folder / "inputs.safetensors")
    save_file(outputs, folder / "outputs.safetensors")
    (folder / "batch.json").write_text(
        json.dumps({"molecules": [{"smiles": one} for one in SMILES[: variant.molecules]]})
    )
    limit = 12 + variant.seed
    lines = tokenizer_lines(tokens, merges, limit)
    (folder / "tokenizer.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    rows = [*SMILES, "C1CC", *SMILES[:4]]
    with (folder / "set.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["structure"], *([one] for one in rows)])
    fractions = [0.6, 0.2, 0.2]
    (folder / "scaffold_split.json").write_text(
        json.dumps({"own": scaffold_split(rows, fractions, variant.split_seed)})
    )
    manifest = make_manifest(variant, tokens, merges, limit, fractions, list(outputs))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def make_manifest(
    variant: Variant, tokens: list[str], merges: list[str], limit: int, fractions: list[float], outputs: list[str]
) -> dict[str, Any]:
    encoder = {
        "architecture": "roberta", "vocabulary_size": variant.rows, "hidden_width": variant.width,
        "layers": variant.layers, "attention_heads": variant.heads, "feed_forward_width": variant.feed_forward,
        "max_positions": variant.positions, "token_types": 1, "position_type": "absolute", "activation": "gelu_erf",
        "norm_epsilon": variant.epsilon, "hidden_dropout": 0.0, "attention_dropout": 0.0,
        "position_padding_id": variant.padding_id, "embedding_padding_id": variant.padding_id,
        "decoder_tied_to_word_embeddings": True,
    }  # fmt: skip
    masking = {
        "selection_probability": 0.2, "mask_token_share": 0.7, "random_token_share_of_the_rest": 0.4,
        "mask_token_id": 4, "never_selected_ids": [0, 1, 2, 3, 4], "random_word_count": len(tokens),
        "ignored_label": -100,
    }  # fmt: skip
    config = {
        "encoder": encoder,
        "batch": {
            "molecules": variant.molecules, "length": variant.length, "padding_token_id": 3, "padding_side": "right",
            "molecule_file": "batch.json", "vocabulary": "w", "scheme": variant.scheme,
        },
        "masking": masking,
        "pretrain": {
            "nomask_uses_attention_mask": False, "mask_uses_attention_mask": True, "nomask_logit_rows_stored": 2,
        },
        "embedding": {"cls_index": 0},
        "finetune": {
            "token_index": 0, "dropout": 0.0, "binary": {"outputs": 2}, "regression": {"outputs": 1},
            "multilabel": {"outputs": variant.classes},
        },
        "gradients": {"of": "pretrain_nomask.loss"},
        "tokenizer": {
            "schemes": {"fast": "", "slow": "", "bracket": ""}, "truncation_check_length": limit,
            "vocabularies": {"w": {"tokens_by_id": tokens, "merges": merges}},
        },
        "scaffold_split": {
            "fractions": fractions, "balanced": True, "seed": variant.split_seed, "chirality_in_scaffolds": False,
            "smiles_column": "structure", "datasets": [{"name": "own", "csv": "set.csv"}],
        },
    }  # fmt: skip
    # tolerances of the shared folder
    hidden = {"kind": "absolute", "tolerance": 2e-5}
    logits = {"kind": "absolute", "tolerance": 1e-4}
    fields = ["rdkit_canonical", "selfies", "symbols", "fast_w", "slow_w", "bracket_w"]
    fields += [f"fast_w_trunc{limit}_len", f"fast_w_trunc{limit}_last"]
    stages: list[dict[str, Any]] = [
        {"name": "position_ids", "outputs": ["position_ids"], "compare": {"kind": "exact"}},
        {"name": "hidden_states", "outputs": ["pretrain_nomask.hidden.*", "encoder_mask.last_hidden"],
         "compare": hidden},
        {"name": "mlm_logits", "outputs": ["pretrain_nomask.logits*", "pretrain_mask.logits_at_masked"],
         "compare": logits},
        {"name": "losses", "outputs": ["*.loss"], "compare": hidden},
        {"name": "embeddings", "outputs": ["embed.*"], "compare": hidden},
        {"name": "finetune_logits", "outputs": ["finetune_*.logits"], "compare": logits},
        {"name": "gradients", "outputs": ["grad.*"], "compare": {"kind": "absolute", "tolerance": 2e-4}},
        {"name": "batch_tokens", "file": "inputs.safetensors",
         "fields": ["input_ids", "attention_mask", "special_tokens_mask"], "compare": {"kind": "exact"}},
        {"name": "masking_rule", "file": "inputs.safetensors", "fields": ["mlm_input_ids", "mlm_labels"],
         "compare": {"kind": "exact"}},
        {"name": "tokenizer", "file": "tokenizer.jsonl", "fields": fields, "compare": {"kind": "exact_json"}},
        {"name": "scaffold_split", "file": "scaffold_split.json",
         "fields": ["*.n_rows", "*.n_valid", "*.train", "*.val", "*.test"],
         "compare": {"kind": "exact_json", "lists_as_sets": True}},
    ]  # fmt: skip
    return {"format": 1, "system": "molecules/selformer", "reference": {}, "config": config, "stages": stages}
