"""Replay of SELFormer golden data through this plugin's public classes and the published key map.

Everything is rebuilt from the manifest's ``config``: sizes, ids, vocabularies, probabilities, data sets. Nothing here
compares; core does.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import selfies
import torch
from rdkit import Chem
from rdkit.rdBase import BlockLogs
from torch import Tensor

from repcore.errors import DataError
from repcore.evaluation.tasks.configs import ClassificationConfig, MultilabelConfig, RegressionConfig
from repcore.evaluation.tasks.item import ClassificationTask, MultilabelTask, RegressionTask
from repcore.interfaces import Batch, StageResult
from repcore.specs import TargetSpec
from repcore.verification.documents import Unavailable
from repcore.verification.golden import Golden
from repcore_molecules.checkpoints.selformer import KEY_MAP, import_state
from repcore_molecules.configs.selformer import MaskedLanguageConfig, SelformerConfig
from repcore_molecules.encoders.selformer import Selformer
from repcore_molecules.objectives.masked_language import TERM, MaskedLanguage
from repcore_molecules.smiles.scaffolds import balanced_scaffold_split, scaffolds_of
from repcore_molecules.smiles.selfies_encoder import SelfiesEncoder
from repcore_molecules.tokenisation.published import PublishedTokeniser
from repcore_molecules.tokenisation.symbols import split_symbols
from repcore_molecules.tokenisation.vocabulary import BpeVocabulary

# What the encoder is, as far as config.encoder lets it vary; other values cannot be replayed.
_FIXED = {
    "architecture": "roberta", "token_types": 1, "position_type": "absolute", "activation": "gelu_erf",
    "decoder_tied_to_word_embeddings": True,
}  # fmt: skip
_DRAWS = {
    "select": "mlm_u_select", "replace": "mlm_u_replace", "randomise": "mlm_u_random",
    "random_words": "mlm_random_words",
}  # fmt: skip
_FinetuneTask = ClassificationTask | RegressionTask | MultilabelTask
# Any: the classes take settings of their own
_TASKS: Mapping[str, tuple[Any, Any, str, dict[str, Any]]] = {
    "binary": (ClassificationTask, ClassificationConfig, "class", {}),
    "regression": (RegressionTask, RegressionConfig, "regression", {"standardise": False}),
    "multilabel": (MultilabelTask, MultilabelConfig, "multilabel", {}),
}


def replay(golden: Golden, fed: frozenset[str]) -> Iterator[StageResult]:
    """Recompute every stage of a SELFormer golden folder.

    Args:
        golden: the folder.
        fed: no stage of this system has a fed form; ignored.

    Raises:
        DataError: the manifest asks for something this system is not.
    """
    del fed
    model = _Replay(golden)
    stages: Mapping[str, Callable[[], Mapping[str, Any]]] = {
        "position_ids": model.position_ids,
        "hidden_states": model.hidden_states,
        "mlm_logits": model.language_logits,
        "losses": model.losses,
        "embeddings": model.embeddings,
        "finetune_logits": lambda: model.finetuned("logits"),
        "gradients": model.gradients,
        "masking_rule": model.masking_rule,
        "batch_tokens": lambda: batch_tokens(golden),
        "tokenizer": lambda: tokenizer_columns(golden),
        "scaffold_split": lambda: scaffold_splits(golden),
    }
    for stage in golden.stages:
        if stage.name in stages:
            yield StageResult(stage.name, stages[stage.name]())


class _Replay:
    """The networks of one golden folder."""

    def __init__(self, golden: Golden) -> None:
        self.golden = golden
        self.config = golden.config
        self.encoder_config = _encoder_config(self.config["encoder"])
        weights = golden.weights
        state = {name: weights[name] for name in weights if not name.startswith("finetune_")}
        self.state, _ = import_state(state, self.encoder_config, str(golden.path("weights.safetensors")))
        self.nomask = self._objective(bool(self.config["pretrain"]["nomask_uses_attention_mask"]))
        self.mask = self._objective(bool(self.config["pretrain"]["mask_uses_attention_mask"]))
        self.encoder = _encoder(self.encoder_config, self.state)
        self.batch = _batch(golden.inputs["input_ids"], golden.inputs["attention_mask"])
        self.draws = {ours: golden.inputs[theirs] for ours, theirs in _DRAWS.items()}

    def _objective(self, uses_mask: bool) -> MaskedLanguage:
        masking = self.config["masking"]
        config = MaskedLanguageConfig(
            mask_probability=masking["selection_probability"],
            mask_share=masking["mask_token_share"],
            random_share_of_rest=masking["random_token_share_of_the_rest"],
            mask_token_id=masking["mask_token_id"],
            never_selected_ids=tuple(masking["never_selected_ids"]),
            token_count=masking["random_word_count"],
            attention_mask="proper" if uses_mask else "reference",
        )
        objective = MaskedLanguage(config, Selformer(self.encoder_config))
        objective.load_state_dict(self.state)
        return objective.eval()

    def position_ids(self) -> Mapping[str, Any]:
        return {"position_ids": self.encoder.position_ids(self.golden.inputs["input_ids"])}

    @torch.no_grad()
    def hidden_states(self) -> Mapping[str, Any]:
        masked = self.nomask.mask_tokens(self.batch, self.draws)
        numbers = range(self.encoder_config.layers + 1)
        states = self.nomask.encode(self.batch, masked, layers=numbers).layers
        produced = {f"pretrain_nomask.hidden.{number}": states[number].values for number in numbers}
        last = self.encoder(self.batch).tokens["tokens"].values
        return {**produced, "encoder_mask.last_hidden": last}

    @torch.no_grad()
    def language_logits(self) -> Mapping[str, Any]:
        rows = int(self.config["pretrain"]["nomask_logit_rows_stored"])
        masked = self.nomask.mask_tokens(self.batch, self.draws)
        everywhere = self.nomask.encode(self.batch, masked).tokens["tokens"].values[:rows]
        chosen = self.mask.encode(self.batch, masked).tokens["tokens"].values[masked.selected]
        names = self.golden.expected("mlm_logits")
        # the name of the first says so when not every molecule is stored
        stored = next((name for name in names if name.startswith("pretrain_nomask.logits")), "pretrain_nomask.logits")
        return {stored: self.nomask.logits(everywhere), "pretrain_mask.logits_at_masked": self.mask.logits(chosen)}

    def losses(self) -> Mapping[str, Any]:
        pretraining = {
            f"pretrain_{name}.loss": objective(self.batch, self.draws).terms[TERM]
            for name, objective in (("nomask", self.nomask), ("mask", self.mask))
        }
        return {**pretraining, **self.finetuned("loss")}

    @torch.no_grad()
    def embeddings(self) -> Mapping[str, Any]:
        # as users embed: padding is left out
        encoder = _encoder(_encoder_config(self.config["encoder"], padding="skip"), self.state)
        ids, mask = self.golden.inputs["input_ids"], self.golden.inputs["attention_mask"].bool()
        alone = [
            encoder(_batch(row[real][None], real[real][None])).pooled[0] for row, real in zip(ids, mask, strict=True)
        ]
        features = encoder(self.batch)
        index = int(self.config["embedding"]["cls_index"])
        return {
            "embed.reference_one_by_one": torch.stack(alone),
            "embed.masked_mean_batched": features.pooled,
            "embed.cls": features.tokens["tokens"].values[:, index],
        }

    @torch.no_grad()
    def finetuned(self, what: str) -> Mapping[str, Any]:
        """``logits`` or ``loss`` of every fine-tuning head in config.finetune."""
        produced = {}
        for name in (name for name in _TASKS if name in self.config["finetune"]):
            task = self._task(name)
            outputs = task(self.batch)
            labels = self.golden.inputs[f"labels_{name}"]
            produced[f"finetune_{name}.{what}"] = outputs if what == "logits" else task.loss(outputs, labels)
        return produced

    def _task(self, name: str) -> _FinetuneTask:
        kind, config_class, target_kind, settings = _TASKS[name]
        outputs = int(self.config["finetune"][name]["outputs"])
        config = config_class(
            head="first-token", dropout=self.config["finetune"]["dropout"], outputs=outputs, **settings
        )
        target = TargetSpec(name=name, kind=target_kind)  # type: ignore[arg-type]
        task: _FinetuneTask = kind(config, Selformer(self.encoder_config), target)
        prefix, weights = f"finetune_{name}.", self.golden.weights
        head = {key.removeprefix(prefix): weights[key] for key in weights if key.startswith(prefix)}
        body = {key: weights[key] for key in weights if key.startswith("roberta.")}
        state, _ = import_state({**body, **head}, self.encoder_config, f"{prefix}* of {self.golden.folder}")
        absent = [key for key in task.load_state_dict(state, strict=False).missing_keys if "." in key]
        if absent:  # names without a dot are label statistics, which stay 0 and 1
            raise DataError(f"{self.golden.folder} lacks weights of {prefix}*", missing=", ".join(absent))
        return task.eval()

    def gradients(self) -> Mapping[str, Any]:
        objectives = {"pretrain_nomask.loss": self.nomask, "pretrain_mask.loss": self.mask}
        source = self.config["gradients"]["of"]
        if source not in objectives:
            raise DataError(f"config.gradients.of={source!r} is not known", expected=", ".join(objectives))
        objective = objectives[source]
        objective.zero_grad()
        objective(self.batch, self.draws).total.backward()
        ours = {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}
        published = {f"grad.{name}": value for name, value in KEY_MAP.reverse(ours).items()}
        wanted = self.golden.expected("gradients")  # a folder stores some of them
        return {name: published[name] for name in wanted if name in published}

    def masking_rule(self) -> Mapping[str, Any]:
        masked = self.nomask.mask_tokens(self.batch, self.draws)
        ids = self.golden.inputs["input_ids"]
        ignored = int(self.config["masking"]["ignored_label"])
        return {"mlm_input_ids": masked.input_ids, "mlm_labels": ids.masked_fill(~masked.selected, ignored)}


def batch_tokens(golden: Golden) -> Mapping[str, Any]:
    """The stored batch, from the molecules' SMILES."""
    batch = golden.config["batch"]
    if batch["padding_side"] != "right":
        raise DataError(f"config.batch.padding_side={batch['padding_side']!r} is not supported", expected="right")
    tokeniser = _tokeniser(golden, batch["scheme"], batch["vocabulary"])
    encoder = SelfiesEncoder()
    molecules = golden.json(batch["molecule_file"])["molecules"]
    ids = torch.full((len(molecules), int(batch["length"])), int(batch["padding_token_id"]))
    mask = torch.zeros_like(ids)
    for row, molecule in enumerate(molecules):
        tokens = tokeniser.encode(encoder.encode(molecule["smiles"]), int(batch["length"]))
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    special = torch.isin(ids, torch.tensor(golden.config["masking"]["never_selected_ids"]))
    return {"input_ids": ids, "attention_mask": mask, "special_tokens_mask": special}


def tokenizer_columns(golden: Golden) -> Mapping[str, Any]:
    """Every asked field of the tokenizer file, one value a line, from each line's SMILES."""
    stage = golden.stage("tokenizer")
    limit = int(golden.config["tokenizer"]["truncation_check_length"])
    encoder = SelfiesEncoder()
    smiles = [line["smiles"] for line in golden.json(stage.file)]
    texts = [_selfies(encoder, one) for one in smiles]
    columns: dict[str, Any] = {}
    for name in stage.fields:
        if name == "rdkit_canonical":
            columns[name] = [_canonical(one) for one in smiles]
        elif name == "selfies":
            columns[name] = texts
        elif name == "symbols":
            columns[name] = [None if text is None else split_symbols(text) for text in texts]
        else:
            columns[name] = _token_column(golden, name, texts, limit)
    return columns


def _token_column(golden: Golden, name: str, texts: list[str | None], limit: int) -> list[Any]:
    """``<scheme>_<vocabulary>`` ids, or their ``_trunc<limit>_len`` / ``_last`` (last three ids) after truncation."""
    scheme, _, rest = name.partition("_")
    vocabulary, _, check = rest.partition("_")
    tokeniser = _tokeniser(golden, scheme, vocabulary)
    checks: Mapping[str, Callable[[list[int]], Any]] = {
        "": lambda ids: ids,
        f"trunc{limit}_len": len,
        f"trunc{limit}_last": lambda ids: ids[-3:],
    }
    if check not in checks:
        raise DataError(f"tokenizer field {name!r} is not known", expected=f"<scheme>_<vocabulary>, _trunc{limit}_len")
    shown = checks[check]
    return [None if t is None else shown(tokeniser.encode(t, limit if check else None)) for t in texts]


def scaffold_splits(golden: Golden) -> Mapping[str, Any]:
    """Row numbers of each data set's balanced scaffold split."""
    rule = golden.config["scaffold_split"]
    if not rule["balanced"] or rule["chirality_in_scaffolds"]:
        raise DataError("config.scaffold_split asks for another split", expected="balanced, without chirality")
    produced: dict[str, Any] = {}
    for entry in rule["datasets"]:
        path = golden.path(entry["csv"])
        if not path.exists():
            produced[entry["name"]] = Unavailable(path)
            continue
        with path.open(encoding="utf-8", newline="") as file:
            smiles = [row[rule["smiles_column"]] for row in csv.DictReader(file)]
        scaffolds = scaffolds_of(smiles)
        share = rule["fractions"]
        split = balanced_scaffold_split(scaffolds, fractions=(share[0], share[1], share[2]), seed=int(rule["seed"]))
        produced[entry["name"]] = {
            "n_rows": len(smiles),
            "n_valid": sum(scaffold is not None for scaffold in scaffolds),
            "train": split.train,
            "val": split.validation,
            "test": split.test,
        }
    return produced


def _encoder_config(values: Mapping[str, Any], padding: str = "compute") -> SelformerConfig:
    """The manifest's encoder settings; padded slots are computed, because they are compared."""
    wrong = [f"{key}={values[key]!r}" for key, only in _FIXED.items() if values.get(key, only) != only]
    known = {field.name for field in fields(SelformerConfig)}
    unknown = [key for key in values if key not in known and key not in _FIXED]
    if wrong or unknown:
        raise DataError("config.encoder is not a SELFormer encoder", got=", ".join([*wrong, *unknown]))
    return SelformerConfig(**{key: value for key, value in values.items() if key in known}, padding=padding)  # type: ignore[arg-type]


def _encoder(config: SelformerConfig, state: Mapping[str, Tensor]) -> Selformer:
    encoder = Selformer(config)
    encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")})
    return encoder.eval()


def _batch(input_ids: Tensor, attention_mask: Tensor) -> Batch:
    return Batch(inputs={"input_ids": input_ids, "attention_mask": attention_mask.bool()}, size=len(input_ids))


def _tokeniser(golden: Golden, scheme: str, vocabulary: str) -> PublishedTokeniser:
    stored = golden.config["tokenizer"]["vocabularies"]
    if vocabulary not in stored or scheme not in golden.config["tokenizer"]["schemes"]:
        raise DataError(f"{scheme}_{vocabulary} is not in config.tokenizer", vocabularies=", ".join(stored))
    entry = stored[vocabulary]
    return PublishedTokeniser(scheme, BpeVocabulary.from_tokens(entry["tokens_by_id"], entry["merges"]))


def _selfies(encoder: SelfiesEncoder, smiles: str) -> str | None:
    """SELFIES of the text as it stands, None where SELFIES refuses it."""
    try:
        return encoder.encode(smiles)
    except selfies.EncoderError:
        return None


def _canonical(smiles: str) -> str | None:
    silence = BlockLogs()
    mol = Chem.MolFromSmiles(smiles)
    del silence
    return None if mol is None else str(Chem.MolToSmiles(mol))
