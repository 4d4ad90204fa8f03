"""Faults that an attacker planted and the kit once let pass: check id -> what damages the toy of ragged pairs.

Each is what somebody could write in good faith, and each leaves every other check green.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from repcore.errors import DataError
from repcore.evaluation.metrics import multilabel_scores
from repcore.interfaces import Batch, EmbeddingRows, Features, Item, Picture, ProbeSplit, Sample
from tests.ecosystem.planting import changed_spec, plant, wrap
from tests.toys.toy_pairs import code, extras, fitted

# -------------------------------------------------------------------------------------------------- probes


def labelled(rows: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Those rows of a part that have a label."""
    return rows[~np.isnan(y[rows]).reshape(len(rows), -1).all(1)]


@plant("probe-answers-row-by-row")
def standardises_the_test_part_by_itself(patch: pytest.MonkeyPatch) -> None:
    def score(f: Any, self: Any, x: Any, y: Any, target: Any, split: ProbeSplit, seed: int) -> Any:
        own = labelled(split.test, y)
        shown = x.copy()
        shown[split.test] = (x[split.test] - x[own].mean(0)) / x[own].std(0)
        return f(self, shown, y, target, split, seed)

    wrap(patch, extras.Centroid, "score", score)


@plant("probe-answers-row-by-row")
def centres_all_rows_on_their_median(patch: pytest.MonkeyPatch) -> None:
    def score(f: Any, self: Any, x: Any, y: Any, target: Any, split: ProbeSplit, seed: int) -> Any:
        shown = x - np.median(x[np.concatenate([split.train, labelled(split.test, y)])], axis=0)
        return f(self, np.sign(shown), y, target, split, seed)

    wrap(patch, extras.Centroid, "score", score)


@plant("probe-answers-row-by-row")
def ranks_with_a_scale_of_all_rows(patch: pytest.MonkeyPatch) -> None:
    """A probe that reports AUROC alone, which is no mean over rows."""
    changed_spec(patch, "repcore_probes", target_kinds=("multilabel",))

    def score(f: Any, self: Any, x: Any, y: Any, target: Any, split: ProbeSplit, seed: int) -> Any:
        rows = np.concatenate([split.train, labelled(split.test, y)])
        shown = np.tanh(x / x[rows].std(0))
        weights = np.linalg.pinv(shown[split.train]) @ np.nan_to_num(y[split.train])
        return {"auroc": multilabel_scores(y[split.test], shown[split.test] @ weights)["auroc"]}

    wrap(patch, extras.Centroid, "score", score)


# ------------------------------------------------------------------------------------------- preprocessors


def prepared(patch: pytest.MonkeyPatch, change: Any) -> None:
    """``change(values, sample)`` for the values of every item."""

    def prepare(f: Any, self: Any, sample: Sample) -> list[Item]:
        return [dataclasses.replace(one, values=change(one.values, sample)) for one in f(self, sample)]

    wrap(patch, code.Sets, "prepare", prepare)


@plant("prepare-reads-no-label")
def the_label_moves_the_points(patch: pytest.MonkeyPatch) -> None:
    prepared(patch, lambda values, one: values + np.float32(np.nan_to_num(one.targets.get("kind", 0.0))))


@plant("prepare-reads-no-label")
def points_in_the_order_of_their_labels(patch: pytest.MonkeyPatch) -> None:
    """Where there are labels of points, their order tells them."""

    def order(values: np.ndarray, sample: Sample) -> np.ndarray:
        side = sample.targets.get("side")
        return values if side is None else values[np.argsort(side, kind="stable")]

    prepared(patch, order)


@plant("prepare-reads-no-label")
def the_group_moves_the_points(patch: pytest.MonkeyPatch) -> None:
    prepared(patch, lambda values, one: values + np.float32(one.group is not None))


def fitted_with(patch: pytest.MonkeyPatch, mean: Any) -> None:
    """``mean(reader, indices)`` is what is learned."""

    def fit(f: Any, self: Any, reader: Any, indices: Any) -> None:
        f(self, reader, indices)
        self.mean = np.asarray(mean(reader, indices), np.float32)

    wrap(patch, code.Sets, "fit", fit)


@plant("fit-sees-training-rows-only")
def fit_opens_the_data_again(patch: pytest.MonkeyPatch) -> None:
    def mean(reader: Any, indices: Any) -> np.ndarray:
        again = code.Blobs(reader.config)
        return np.mean([again[row].inputs.mean(0) for row in range(len(again))], axis=0)

    fitted_with(patch, mean)


@plant("fit-sees-training-rows-only")
def fit_asks_the_reader_behind_the_reader(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        code.Blobs, "mean", lambda self: np.mean([self[row].inputs.mean(0) for row in range(len(self))], 0),
        raising=False,
    )  # fmt: skip
    fitted_with(patch, lambda reader, indices: reader.mean())


@plant("fit-sees-training-rows-only")
def fit_scales_by_the_costs_of_all_rows(patch: pytest.MonkeyPatch) -> None:
    fitted_with(patch, lambda reader, indices: np.full(2, reader.costs.mean()))


@plant("fit-sees-training-rows-only")
def fit_by_chance_in_what_is_not_json(patch: pytest.MonkeyPatch) -> None:
    drawn = np.random.default_rng()
    fitted_with(patch, lambda reader, indices: drawn.normal(size=2))
    wrap(patch, code.Sets, "save", lambda f, self, folder: (f(self, folder), {})[1])


def baseline(patch: pytest.MonkeyPatch, change: Any) -> None:
    original = code.moments
    patch.setattr(code, "moments", lambda preprocessor, samples: change(original(preprocessor, samples)))


@plant("baseline-row-by-row")
def baseline_without_a_number(patch: pytest.MonkeyPatch) -> None:
    baseline(patch, lambda rows: np.full_like(rows, np.nan))


@plant("baseline-row-by-row")
def baseline_of_zeros(patch: pytest.MonkeyPatch) -> None:
    baseline(patch, np.zeros_like)


@plant("baseline-row-by-row")
def baseline_of_few_rows(patch: pytest.MonkeyPatch) -> None:
    """Small clouds have no spread, it says; most are small."""
    baseline(patch, lambda rows: np.where(rows[:, -1:] > 0.9, rows, np.nan))


# -------------------------------------------------------------------------------------------------- splits


def with_validation(patch: pytest.MonkeyPatch, chosen: Any) -> None:
    """``chosen(inputs)`` are rows that move from train to validation."""
    original = extras.by_content

    def split(inputs: Any, seed: int) -> ProbeSplit:
        found = original(inputs, seed)
        held = np.intersect1d(found.train, chosen(inputs))
        return ProbeSplit(train=np.setdiff1d(found.train, held), test=found.test, validation=held)

    patch.setattr(extras, "by_content", split)


@plant("split-groups-whole")
def validation_holds_copies_of_training_rows(patch: pytest.MonkeyPatch) -> None:
    with_validation(patch, lambda inputs: np.arange(0, len(inputs.ids) // 2))


@plant("split-groups-whole")
def validation_divides_groups(patch: pytest.MonkeyPatch) -> None:
    wrap(
        patch, code.Blobs, "__getitem__",
        lambda f, self, index: dataclasses.replace(f(self, index), group=f"speaker-{index % 9}"),
    )  # fmt: skip
    with_validation(patch, lambda inputs: np.arange(30, 45))


@plant("split-parts-apart")
def a_split_that_always_refuses(patch: pytest.MonkeyPatch) -> None:
    def split(inputs: Any, seed: int) -> ProbeSplit:
        raise DataError("by-content needs a column 'content'")

    patch.setattr(extras, "by_content", split)


@plant("split-parts-apart")
def a_split_into_no_fold(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(extras, "by_content", lambda inputs, seed: [])


@plant("split-parts-apart")
def a_split_whose_test_part_is_empty(patch: pytest.MonkeyPatch) -> None:
    rows = np.arange(0)
    patch.setattr(extras, "by_content", lambda inputs, seed: ProbeSplit(train=np.arange(len(inputs.ids)), test=rows))


@plant("split-by-seed")
def validation_by_the_moment(patch: pytest.MonkeyPatch) -> None:
    drawn = np.random.default_rng()
    with_validation(patch, lambda inputs: drawn.permutation(len(inputs.ids))[:20])


# ------------------------------------------------------------------------------------------------- writers


def rows_written(patch: pytest.MonkeyPatch, change: Any) -> None:
    """``change(rows)`` is what stands in the file of the toy, which core cannot read back."""
    wrap(patch, extras.CsvWriter, "write", lambda f, self, rows: f(self, change(rows)))


@plant("writer-keeps-every-value")
def writer_of_zeros(patch: pytest.MonkeyPatch) -> None:
    rows_written(patch, lambda rows: dataclasses.replace(rows, vectors=0.0 * rows.vectors))


@plant("writer-keeps-every-value")
def writer_of_reversed_vectors(patch: pytest.MonkeyPatch) -> None:
    rows_written(patch, lambda rows: dataclasses.replace(rows, vectors=rows.vectors[:, ::-1]))


@plant("writer-keeps-every-value")
def vectors_of_other_rows(patch: pytest.MonkeyPatch) -> None:
    """Sorted by the first number, while ids and reasons stay where they were."""

    def sorted_rows(rows: EmbeddingRows) -> EmbeddingRows:
        vectors, good = rows.vectors.copy(), np.isfinite(rows.vectors).all(1)
        vectors[good] = vectors[good][np.argsort(vectors[good][:, 0])]
        return dataclasses.replace(rows, vectors=vectors)

    rows_written(patch, sorted_rows)


@plant("writer-keeps-every-value")
def ids_of_ten_characters(patch: pytest.MonkeyPatch) -> None:
    rows_written(patch, lambda rows: dataclasses.replace(rows, ids=[one[:10] for one in rows.ids]))


@plant("writer-keeps-every-value")
def the_last_number_is_left_out(patch: pytest.MonkeyPatch) -> None:
    rows_written(patch, lambda rows: dataclasses.replace(rows, vectors=rows.vectors[:, :-1]))


@plant("writer-keeps-every-value")
def binary_rows_from_the_last_to_the_first(patch: pytest.MonkeyPatch) -> None:
    def finish(f: Any, self: Any) -> Path:
        path: Path = f(self)
        lines = path.read_text(encoding="utf-8").splitlines()[1:]
        rows = list(csv.reader(lines))
        vectors = np.array([[float(one) for one in row[3:]] for row in rows], ">f4")
        head = "\n".join(row[0] for row in rows).encode()
        path.write_bytes(b"\x80ids" + head + vectors[::-1].tobytes())
        return path

    wrap(patch, extras.CsvWriter, "finish", finish)


# --------------------------------------------------------------------------------------------------- views


def built(patch: pytest.MonkeyPatch, change: Any) -> None:
    """``change(views, build, index)``, where ``build(generator)`` makes views of the row."""

    def build(f: Any, self: Any, index: int, reader: Any, generator: Any, progress: Any) -> Mapping[str, Item]:
        again = lambda chosen: f(self, index, reader, chosen, progress)  # noqa: E731 - one word for what follows
        found: Mapping[str, Item] = change(again(generator), again, index)
        return found

    wrap(patch, code.Jitter, "build", build)


@plant("views-from-the-generator")
def the_second_view_has_a_seed_of_its_own(patch: pytest.MonkeyPatch) -> None:
    built(patch, lambda views, again, index: {**views, "b": again(np.random.default_rng(index))["b"]})


@plant("views-from-the-generator")
def a_fixed_view_that_changes(patch: pytest.MonkeyPatch) -> None:
    changed_spec(patch, "repcore_views", fixed=("b",))


@plant("views-distinct")
def copies_in_all_rows_but_one(patch: pytest.MonkeyPatch) -> None:
    built(patch, lambda views, again, index: views if index % 8 == 1 else {"a": views["a"], "b": views["a"]})


@plant("views-read-no-label")
def views_of_a_class_are_alike(patch: pytest.MonkeyPatch) -> None:
    """Views are moved by the label: contrast is easy then."""

    def build(f: Any, self: Any, index: int, reader: Any, *rest: Any) -> Mapping[str, Item]:
        shift = np.float32(np.nan_to_num(reader[index].targets.get("kind", 0.0)))
        views = f(self, index, reader, *rest)
        return {name: dataclasses.replace(one, values=one.values + shift) for name, one in views.items()}

    wrap(patch, code.Jitter, "build", build)


# ------------------------------------------------------------------------------------------------- readers


def fingerprint_of(patch: pytest.MonkeyPatch, told: Any) -> None:
    hashed = property(lambda self: hashlib.sha256(repr(told(self)).encode()).hexdigest())
    patch.setattr(code.Blobs, "fingerprint", hashed)


@plant("fingerprint-follows-content")
def fingerprint_without_the_number_of_rows(patch: pytest.MonkeyPatch) -> None:
    fingerprint_of(patch, lambda self: (self.config.seed, self.config.broken, self[0].inputs.tolist()))


@plant("fingerprint-follows-content")
def fingerprint_without_the_labels(patch: pytest.MonkeyPatch) -> None:
    """The seed changes labels alone."""

    def relabelled(f: Any, self: Any, index: int) -> Sample:
        kept, self.config = self.config, dataclasses.replace(self.config, seed=0)
        try:
            sample: Sample = f(self, index)
        finally:
            self.config = kept
        return dataclasses.replace(sample, targets={**sample.targets, "kind": float((index + kept.seed) % 3)})

    wrap(patch, code.Blobs, "__getitem__", relabelled)
    fingerprint_of(patch, lambda self: [one.inputs.tolist() for one in map(self.__getitem__, range(len(self)))])


# ---------------------------------------------------------------------------------------------- objectives


def after_step(patch: pytest.MonkeyPatch, change: Any) -> None:
    """``change(objective, original, progress, carried)`` follows the optimiser's step."""
    wrap(patch, code.TwoViews, "after_step", lambda f, self, *given: change(self, lambda: f(self, *given), *given))


@plant("ema-update-value")
def the_teacher_never_moves(patch: pytest.MonkeyPatch) -> None:
    def change(self: Any, original: Any, *given: Any) -> None:
        kept = [one.detach().clone() for one in self.teacher.parameters()]
        original()
        for one, old in zip(self.teacher.parameters(), kept, strict=True):
            one.data.copy_(old)

    after_step(patch, change)


@plant("ema-update-value")
def momentum_the_wrong_way_round(patch: pytest.MonkeyPatch) -> None:
    def change(self: Any, original: Any, *given: Any) -> None:
        kept = [one.detach().clone() for one in self.teacher.parameters()]
        original()
        for one, old, new in zip(self.teacher.parameters(), kept, self.encoder.parameters(), strict=True):
            one.data.copy_(old.lerp(new.detach(), self.config.momentum))

    after_step(patch, change)


@plant("queue-moves")
def the_place_in_the_queue_does_not_advance(patch: pytest.MonkeyPatch) -> None:
    def change(self: Any, original: Any, progress: Any, carried: Any) -> None:
        kept = self.queue.clone()
        original()
        keys = torch.cat([one["keys"] for one in carried])
        self.queue.copy_(kept)
        self.queue[: len(keys)] = keys

    after_step(patch, change)


# ------------------------------------------------------------------------------------------------ pictures


PICTURES = {
    "a_marker_from_elsewhere": '<svg><line x1="0" marker-end="url(https://example.org/a.svg#m)"/></svg>',
    "a_cursor_from_elsewhere": '<svg><rect cursor="url(https://example.org/a.cur), auto"/></svg>',
    "a_set_of_images": "<div style=\"background: image-set('https://example.org/a.png' 1x)\">set</div>",
    "an_escaped_import": "<style>@\\69mport 'https://example.org/a.css';</style><svg></svg>",
    "a_link_that_is_animated": '<svg><a><animate attributeName="href" values="javascript:alert(1)"/></a></svg>',
    "a_link_that_reports": '<a href="#top" ping="https://example.org/seen">set</a>',
    "a_button_of_a_form": '<button formaction="javascript:alert(1)">set</button>',
    "a_style_that_covers_the_page": '<div style="position: fixed; inset: 0">set</div>',
}
for title, picture in PICTURES.items():

    def show(patch: pytest.MonkeyPatch, html: str = picture) -> None:
        patch.setattr(code, "draw", lambda sample: Picture(html, f"set {sample.id}"))

    show.__name__ = title
    plant("picture-self-contained")(show)


# ------------------------------------------------------------------------------------------------ sniffers


@plant("sniffer-bounded")
def sniffer_walks_the_whole_tree(patch: pytest.MonkeyPatch) -> None:
    """It opens nothing, but looks for a name everywhere."""
    original = extras.sniff

    def sniff(path: Path) -> float:
        return 0.9 if path.is_dir() and any(path.rglob("*.blobs")) else original(path)

    patch.setattr(extras, "sniff", sniff)


@plant("sniffer-bounded")
def sniffer_loads_the_array_for_its_shape(patch: pytest.MonkeyPatch) -> None:
    """What is no array is refused by its header; what is one is read whole."""
    original = extras.sniff

    def sniff(path: Path) -> float:
        if path.suffix != ".npy" or not path.is_file():
            return original(path)
        try:
            return 0.9 if np.load(path).shape[-1:] == (2,) else 0.0
        except (OSError, ValueError, EOFError):
            return 0.0

    patch.setattr(extras, "sniff", sniff)


# ------------------------------------------------------------------------------------------------ encoders


def tokens_of(patch: pytest.MonkeyPatch, change: Any) -> None:
    """``change(values, owner)`` are the tokens; the pooled vectors stay right."""

    def forward(f: Any, self: Any, batch: Batch, *rest: Any) -> Features:
        features: Features = f(self, batch, *rest)
        tokens = features.tokens["point"]
        values = change(tokens.values, batch.inputs["owner"])
        return dataclasses.replace(features, tokens={"point": dataclasses.replace(tokens, values=values)})

    wrap(patch, code.SetNet, "forward", forward)


@plant("batch-independent")
def tokens_are_centred_on_those_of_the_batch(patch: pytest.MonkeyPatch) -> None:
    tokens_of(patch, lambda values, owner: values - values.mean(0))


@plant("padding-invariant")
def tokens_are_divided_by_the_longest_item(patch: pytest.MonkeyPatch) -> None:
    tokens_of(patch, lambda values, owner: values / torch.bincount(owner).max())


@plant("encoder-reads-content")
def the_vector_is_the_number_of_points(patch: pytest.MonkeyPatch) -> None:
    """The points are zeros by an error upstream; only how many there are is left."""

    def forward(f: Any, self: Any, batch: Batch, *rest: Any) -> Features:
        inputs = {**batch.inputs, "points": torch.zeros_like(batch.inputs["points"])}
        features: Features = f(self, dataclasses.replace(batch, inputs=inputs), *rest)
        count = torch.bincount(batch.inputs["owner"], minlength=batch.size)[:, None]
        return dataclasses.replace(features, pooled=features.pooled * count)

    wrap(patch, code.SetNet, "forward", forward)


# ------------------------------------------------------------------------------------ tasks and the way back


@plant("task-predicts-what-it-fits")
def probabilities_stand_in_another_order(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, extras.KindTask, "predict", lambda f, self, outputs: f(self, outputs).flip(-1))


@plant("task-predicts-what-it-fits")
def predictions_are_centred_on_those_of_the_batch(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, extras.KindTask, "predict", lambda f, self, outputs: f(self, outputs - outputs.mean(0)))


@plant("task-predicts-what-it-fits")
def points_learn_another_class_than_they_answer(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, fitted.SideTask, "loss", lambda f, self, outputs, labels: f(self, outputs, (labels + 1) % 3))


@plant("elements-restored")
def answers_are_kept_in_an_array_of_integers(patch: pytest.MonkeyPatch) -> None:
    """Classes come back right, probabilities and features as their whole part."""
    wrap(patch, code.Sets, "restore", lambda f, self, *given: f(self, *given).astype(np.int64))
