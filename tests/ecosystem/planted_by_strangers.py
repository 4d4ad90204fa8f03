"""Bugs as people make them who write their first plugin: check id -> what damages the toy of ragged pairs.

Every one runs, trains and looks right; only what it measures is wrong.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from repcore.interfaces import Batch, EmbeddingRows, Item, LossTerms, Picture, ProbeSplit, Sample
from tests.ecosystem.planting import changed_terms, plant, wrap
from tests.toys.toy_pairs import code, extras

# ------------------------------------------------------------------------------- objectives: queue, contrast, draws


@plant("queue-moves")
def the_queue_never_moves(patch: pytest.MonkeyPatch) -> None:
    def after_step(original: Any, self: Any, progress: Any, carried: Any) -> None:
        kept = self.queue.clone()
        original(self, progress, carried)
        self.queue.copy_(kept)

    wrap(patch, code.TwoViews, "after_step", after_step)


@plant("queue-moves")
def the_queue_moves_once(patch: pytest.MonkeyPatch) -> None:
    def after_step(original: Any, self: Any, progress: Any, carried: Any) -> None:
        kept, moved = self.queue.clone(), getattr(self, "moved", False)
        original(self, progress, carried)
        self.moved = True
        if moved:
            self.queue.copy_(kept)

    wrap(patch, code.TwoViews, "after_step", after_step)


@plant("keys-from-the-teacher")
def keys_from_the_student(patch: pytest.MonkeyPatch) -> None:
    def forward(original: Any, self: Any, batch: Batch, draws: Any) -> LossTerms:
        terms = original(self, batch, draws)
        with torch.no_grad():
            keys = F.normalize(self.encoder(batch.views["b"]).pooled, dim=1)
        return dataclasses.replace(terms, carry={"keys": keys})

    wrap(patch, code.TwoViews, "forward", forward)


@plant("keys-from-the-teacher")
def keys_from_chance(patch: pytest.MonkeyPatch) -> None:
    changed_terms(patch, carry=lambda terms, batch: {"keys": torch.linspace(-1, 1, 16).expand(batch.size, 16)})


@plant("positives-not-negatives")
def positives_among_negatives(patch: pytest.MonkeyPatch) -> None:
    def forward(original: Any, self: Any, batch: Batch, draws: Any) -> LossTerms:
        terms = original(self, batch, draws)
        queries = F.normalize(self.encoder(batch.views["a"]).pooled, dim=1)
        with torch.no_grad():
            keys = F.normalize(self.teacher(batch.views["b"]).pooled, dim=1)
        positive = (queries * keys).sum(1, keepdim=True)
        logits = torch.cat([positive, queries @ keys.T], 1) / self.config.temperature  # the diagonal stays in
        contrast = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64))
        return LossTerms.of({**terms.terms, "contrast": contrast}, counts=terms.counts, carry=terms.carry)

    wrap(patch, code.TwoViews, "forward", forward)


@plant("draw-varies")
def draw_with_a_seed_of_its_own(patch: pytest.MonkeyPatch) -> None:
    def draw(self: Any, batch: Batch, generator: torch.Generator, progress: Any) -> Mapping[str, Any]:
        own = torch.Generator().manual_seed(0)
        return {"hidden": torch.rand(len(batch.views["a"].inputs["points"]), generator=own) < self.config.mask_ratio}

    patch.setattr(code.TwoViews, "draw", draw)


@plant("draw-varies")
def draw_reads_the_global_state(patch: pytest.MonkeyPatch) -> None:
    """It does not change it, so that comparing states before and after shows nothing."""

    def draw(original: Any, self: Any, batch: Batch, generator: torch.Generator, progress: Any) -> Mapping[str, Any]:
        return original(self, batch, torch.Generator().manual_seed(torch.initial_seed() % 2**31), progress)

    wrap(patch, code.TwoViews, "draw", draw)


@plant("no-global-rng")
def draw_uses_the_global_generator(patch: pytest.MonkeyPatch) -> None:
    def draw(original: Any, self: Any, batch: Batch, generator: torch.Generator, progress: Any) -> Mapping[str, Any]:
        return original(self, batch, generator.manual_seed(int(torch.randint(1000, ()))), progress)

    wrap(patch, code.TwoViews, "draw", draw)


@plant("terms-finite-in-bf16")
def infinite_in_half_precision(patch: pytest.MonkeyPatch) -> None:
    """A mask value that bfloat16 rounds to minus infinity, and 0 x inf."""

    def low(terms: LossTerms, batch: Batch) -> Any:
        scores = torch.ones(2, 2) @ torch.ones(2, 2)  # bfloat16 under autocast
        masked = torch.full_like(scores, torch.finfo(torch.float32).min)
        return terms.terms | {"contrast": terms.terms["contrast"] + 0 * masked.sum().float()}

    changed_terms(patch, terms=low)


# --------------------------------------------------------------------------------------------------- views


@plant("views-distinct")
def both_views_are_one(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, code.Jitter, "build", lambda f, self, *given: (views := f(self, *given)) | {"b": views["a"]})


@plant("views-named-as-declared")
def views_under_other_names(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, code.Jitter, "build", lambda f, self, *given: {**f(self, *given), "extra": f(self, *given)["a"]})


@plant("views-no-global-rng")
def views_of_the_global_generator(patch: pytest.MonkeyPatch) -> None:
    def build(original: Any, self: Any, index: int, reader: Any, generator: Any, progress: Any) -> Mapping[str, Item]:
        return original(self, index, reader, np.random.default_rng(np.random.randint(1000)), progress)  # noqa: NPY002

    wrap(patch, code.Jitter, "build", build)


@plant("views-from-the-generator")
def views_of_a_fixed_seed(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, code.Jitter, "build", lambda f, self, i, r, g, p: f(self, i, r, np.random.default_rng(i), p))


@plant("views-leave-the-sample")
def views_write_into_the_sample(patch: pytest.MonkeyPatch) -> None:
    kept: dict[int, Sample] = {}
    wrap(patch, code.Blobs, "__getitem__", lambda f, self, index: kept.setdefault(index, f(self, index)))

    def build(original: Any, self: Any, index: int, reader: Any, *rest: Any) -> Mapping[str, Item]:
        reader[index].inputs[:] += 0.01
        return original(self, index, reader, *rest)

    wrap(patch, code.Jitter, "build", build)


# -------------------------------------------------------------------------------------------------- probes


def changed_score(patch: pytest.MonkeyPatch, change: Any) -> None:
    wrap(patch, extras.Centroid, "score", lambda f, self, x, y, t, split, seed: change(f, self, x, y, t, split, seed))


@plant("probe-fits-no-test-labels")
def probe_fits_all_rows(patch: pytest.MonkeyPatch) -> None:
    def everything(score: Any, self: Any, x: Any, y: Any, target: Any, split: ProbeSplit, seed: int) -> Any:
        return score(self, x, y, target, ProbeSplit(np.concatenate([split.train, split.test]), split.test), seed)

    changed_score(patch, everything)


@plant("probe-fits-no-test-features")
def probe_standardises_over_all_rows(patch: pytest.MonkeyPatch) -> None:
    changed_score(patch, lambda f, self, x, y, t, split, seed: f(self, np.tanh(x / x.std(0)), y, t, split, seed))


@plant("probe-ignores-other-rows")
def probe_ranks_over_the_whole_table(patch: pytest.MonkeyPatch) -> None:
    changed_score(
        patch, lambda f, self, x, y, t, s, seed: f(self, x.argsort(0).argsort(0).astype(float), y, t, s, seed)
    )


@plant("probe-repeatable")
def probe_with_a_clock(patch: pytest.MonkeyPatch) -> None:
    calls = itertools.count()  # a real clock once gave two draws with equal scores

    def noisy(score: Any, self: Any, x: Any, *rest: Any) -> Any:
        return score(self, x + np.random.default_rng(next(calls)).normal(size=x.shape), *rest)

    changed_score(patch, noisy)


@plant("probe-learns")
def probe_of_the_row_number(patch: pytest.MonkeyPatch) -> None:
    def blind(score: Any, self: Any, x: Any, *rest: Any) -> Any:
        return score(self, np.random.default_rng(0).normal(size=x.shape), *rest)

    changed_score(patch, blind)


@plant("probe-refuses-by-name")
def probe_divides_by_the_number_of_rows(patch: pytest.MonkeyPatch) -> None:
    changed_score(patch, lambda f, self, x, y, t, s, seed: (1 // len(s.test), f(self, x, y, t, s, seed))[1])


@plant("model-probe-repeatable")
def questions_with_a_clock(patch: pytest.MonkeyPatch) -> None:
    def clocked(f: Any, *given: Any) -> dict[str, float]:
        return {name: value + time.perf_counter_ns() for name, value in f(*given).items()}

    wrap(patch, extras.Spread, "score", clocked)


@plant("model-probe-repeatable")
def questions_train_the_network(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, extras.Spread, "score", lambda f, self, net, sets, seed: f(self, net.train(), sets, seed))


@plant("model-probe-shows-figures")
def shows_a_figure_that_is_not_there(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(extras.Spread, "shown", ("spreading",))


@plant("model-probe-refuses-by-name")
def questions_need_a_second_row(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        extras.Spread, "material", lambda self, rows: [one[0].values for one in rows[:1]] + [rows[1][0].values]
    )


# ------------------------------------------------------------------------------------ pictures and sniffers


def drawn(patch: pytest.MonkeyPatch, html: str) -> None:
    patch.setattr(code, "draw", lambda sample: Picture(html.replace("ID", sample.id), f"set {sample.id}"))


@plant("picture-self-contained")
def picture_with_a_script(patch: pytest.MonkeyPatch) -> None:
    drawn(patch, "<canvas></canvas><script>draw()</script>")


@plant("picture-self-contained")
def picture_from_elsewhere(patch: pytest.MonkeyPatch) -> None:
    drawn(patch, '<svg><image href="https://example.org/set.png"/></svg>')


@plant("picture-self-contained")
def picture_with_a_style_sheet_from_elsewhere(patch: pytest.MonkeyPatch) -> None:
    drawn(patch, '<div style="background: url(fonts/set.png)">set</div>')


@plant("picture-self-contained")
def pictures_share_an_id(patch: pytest.MonkeyPatch) -> None:
    drawn(patch, '<svg><clipPath id="clip"/></svg>')


@plant("picture-of-odd-samples")
def picture_with_the_bare_id(patch: pytest.MonkeyPatch) -> None:
    drawn(patch, "<p>set ID</p>")


@plant("picture-of-odd-samples")
def picture_needs_the_label(patch: pytest.MonkeyPatch) -> None:
    original = code.draw
    patch.setattr(code, "draw", lambda sample: (sample.targets["kind"], original(sample))[1])


@plant("sniffer-never-raises")
def sniffer_opens_anything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(extras, "sniff", lambda path: 0.9 if path.read_bytes().startswith(extras.MAGIC) else 0.0)


@plant("sniffer-looks-at-content")
def sniffer_trusts_names(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(extras, "sniff", lambda path: 0.8 if path.suffix == ".csv" else 0.0)


@plant("sniffer-bounded")
def sniffer_reads_everything(patch: pytest.MonkeyPatch) -> None:
    def sniff(path: Path) -> float:
        if not path.is_file():
            return 0.0
        with path.open("rb") as file:
            return 0.9 if any(part.startswith(extras.MAGIC) for part in iter(lambda: file.read(1 << 20), b"")) else 0.0

    patch.setattr(extras, "sniff", sniff)


@plant("sniffer-bounded")
def sniffer_opens_every_file(patch: pytest.MonkeyPatch) -> None:
    original = extras.sniff

    def sniff(path: Path) -> float:
        return max((original(one) for one in path.rglob("*")), default=0.0) if path.is_dir() else original(path)

    patch.setattr(extras, "sniff", sniff)


# ----------------------------------------------------------------------------------------- tasks, writers


@plant("task-training-labels-only")
def task_learns_from_judged_labels(patch: pytest.MonkeyPatch) -> None:
    """Class weights follow whatever labels pass, those of the test part too."""

    def loss(original: Any, self: Any, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        self.fit_targets(labels.numpy())
        return original(self, outputs, labels)

    wrap(patch, extras.KindTask, "loss", loss)


@plant("task-training-labels-only")
def task_centres_predictions_on_judged_labels(patch: pytest.MonkeyPatch) -> None:
    def loss(original: Any, self: Any, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        self.seen = F.one_hot(labels[~labels.isnan()].long(), outputs.shape[1]).float().mean(0) + 0.1
        return original(self, outputs, labels)

    wrap(patch, extras.KindTask, "loss", loss)
    wrap(
        patch, extras.KindTask, "predict",
        lambda f, self, outputs: F.normalize(f(self, outputs) * getattr(self, "seen", torch.ones(1)), p=1, dim=1),
    )  # fmt: skip


@plant("task-missing-labels-masked")
def missing_label_is_class_zero(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, extras.KindTask, "loss", lambda f, self, outputs, labels: f(self, outputs, labels.nan_to_num(0.0)))


@plant("task-loss-and-predictions")
def predictions_are_logits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(extras.KindTask, "predict", lambda self, outputs: outputs)


@plant("task-loss-and-predictions")
def encoder_is_not_trained(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(extras.KindTask, "forward", lambda self, batch: self.head(self.encoder(batch).pooled.detach()))


@plant("task-state-saved")
def class_shares_beside_the_state(patch: pytest.MonkeyPatch) -> None:
    def fit(original: Any, self: Any, values: np.ndarray) -> None:
        original(self, values)
        self.shares = 1.0 / self.weights.clone()

    wrap(patch, extras.KindTask, "fit_targets", fit)
    wrap(
        patch, extras.KindTask, "predict",
        lambda f, self, outputs: F.normalize(f(self, outputs) * getattr(self, "shares", torch.ones(1)), p=1, dim=1),
    )  # fmt: skip


def written(patch: pytest.MonkeyPatch, chosen: Any) -> None:
    """A writer that writes only some rows of each part, and counts all."""

    def write(original: Any, self: Any, rows: EmbeddingRows) -> None:
        keep: Sequence[int] = chosen(rows)
        some = EmbeddingRows(
            [rows.ids[one] for one in keep], rows.vectors[list(keep)], [rows.status[one] for one in keep],
            [rows.reason[one] for one in keep],
        )  # fmt: skip
        before = self.status.copy(), self.failed
        original(self, some)
        self.status, self.failed = before
        for status, vector in zip(rows.status, rows.vectors, strict=True):
            self._count(status, bool(np.isnan(vector).all()))

    wrap(patch, extras.CsvWriter, "write", write)


@plant("writer-keeps-every-row")
def writer_leaves_failed_rows_out(patch: pytest.MonkeyPatch) -> None:
    written(patch, lambda rows: [number for number, status in enumerate(rows.status) if status == "ok"])


@plant("writer-keeps-every-row")
def writer_loses_the_last_row_of_a_part(patch: pytest.MonkeyPatch) -> None:
    written(patch, lambda rows: range(max(1, len(rows.ids) - 1)))


@plant("writer-keeps-every-row")
def half_a_file_under_the_final_name(patch: pytest.MonkeyPatch) -> None:
    def write(original: Any, self: Any, rows: EmbeddingRows) -> None:
        original(self, rows)
        self.path.write_bytes(self.partial.read_bytes())

    wrap(patch, extras.CsvWriter, "write", write)


@plant("writer-goes-on")
def writer_begins_anew_behind_old_rows(patch: pytest.MonkeyPatch) -> None:
    def init(original: Any, self: Any, path: Path, header: Mapping[str, Any]) -> None:
        original(self, path, header)
        self.status.clear()

    wrap(patch, extras.CsvWriter, "__init__", init)


@plant("writer-refuses-another-run")
def writer_takes_any_rows_over(patch: pytest.MonkeyPatch) -> None:
    wrap(patch, extras.CsvWriter, "__init__", lambda f, self, path, header: f(self, path, {}))


@plant("command-helps")
def command_without_words(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(extras.count_command, "help", "Count points.")


TWENTY = {
    "the_queue_never_moves", "keys_from_the_student", "positives_among_negatives", "draw_uses_the_global_generator",
    "class_numbers_from_one", "prepared_once_for_each_id", "probe_fits_all_rows", "picture_with_a_script",
    "picture_from_elsewhere", "sniffer_opens_anything", "sniffer_trusts_names", "sniffer_reads_everything",
    "baseline_with_the_label", "a_group_on_both_sides", "writer_loses_the_last_row_of_a_part",
    "task_learns_from_judged_labels", "both_views_are_one", "views_of_the_global_generator", "fit_on_all_rows",
    "constant_fingerprint", "windows_weigh_the_same", "infinite_in_half_precision",
}  # fmt: skip
"""What a stranger planted, of which the kit once missed 17 of 20; by the names of the functions above."""
