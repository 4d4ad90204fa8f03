"""What an hour on a laptop buys: the preset `small` of a domain against its random twin and the best simple baseline.

Protocol, written before a test part was read. One cell is a domain and a seed: the preset is trained without labels on
the data that small_domains.py names, its encoder and a twin with the same architecture and random weights make vectors
of every labelled set, and so do the raw-input baselines that the domain's preprocessor names. A set's test
part is the declared one; of molecules the published scaffold split, its validation and test part together, for more
rows; of graphs all graphs in ten stratified folds. Nothing that is chosen sees it:

* settings of the preset were chosen by probes on training parts only (`--choose`, inner folds below, seed 100);
* which probe reads vectors (`VECTOR_FORMS`, with a forest where a domain says so), whether it gets raw features of the
  domain beside them (encoder and twin alike, where a domain says so), and which baseline with which probe
  stands for the simple way (`RAW_FORMS`) is chosen for each set, each side and each seed by the mean score of inner
  folds of the training part (whole scaffolds on one side for molecules, stratified for classes), then fitted once on
  all of it.

Labels of voxels are judged by Dice, as the first lines of small_volumes.py and of small_decoded.py (a decoder) say;
labels of points by mIoU, as those of small_scenes.py say.

The verdict is core's (`repcore.evaluation.comparison`): differences seed by seed, and a 95 % interval of their mean
over test items drawn again with replacement, the same draws for all seeds; `above` only where all seeds agree and the
interval excludes 0. Test parts are read once a cell; a cell that is there is not run again.

    python benchmarks/small_presets.py --data FOLDER [--domains molecules pointcloud] [--seeds 3] [--keep FOLDER]
    python benchmarks/small_presets.py --data FOLDER --choose molecules objective.weight=2 trainer.steps=200

FOLDER holds the folders of the sets. Cells come in the order of seeds, one line each in results/small_presets.jsonl;
results/small_presets.md is the table. Models stay under --keep as DOMAIN/SEED/model. `--choose` trains with further
settings, prints inner scores of all probes and reads no test row.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import small_decoded
import small_scenes
import small_volumes
import torch
from measuring import RESULTS
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold
from small_domains import DOMAINS, Domain, Set

import repcore
from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.data.guard import read_sample
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.model import Model
from repcore.errors import ItemError
from repcore.evaluation.comparison import Comparison, compare
from repcore.evaluation.metrics import Scores, metric_of, primary_metric
from repcore.evaluation.probing import LabelledRows, build_probe, read_rows, split_plan
from repcore.evaluation.raw_inputs import RawFeatures
from repcore.interfaces import DatasetReader, ProbeSplit, Sample
from repcore.reporting import LogReporter
from repcore.specs import TargetSpec
from repcore.training.assembly import assemble
from repcore.training.run import start_run

LOG, TABLE = RESULTS / "small_presets.jsonl", RESULTS / "small_presets.md"
TRAINED, TWIN, BASELINE = "trained", "random twin", "baseline"
VECTOR_FORMS = {"class": ("linear@1", "centred@1", "rbf-svm@1"), "regression": ("ridge@1", "centred@1")}
RAW_FORMS = {kind: (*forms, "forest@1") for kind, forms in VECTOR_FORMS.items()}
INNER, CHOOSING_SEED = 4, 100
READ_AT_ONCE = 256
COLUMNS = (
    "domain, preset", "set, metric, test rows", "seeds", "trained", "random twin", "best simple baseline",
    "against the twin", "against the baseline", "minutes",
)  # fmt: skip


@dataclass(frozen=True)
class Open:
    """A set that has been read: labels (N,), outer splits, and a group of each row that inner folds keep together."""

    rows: LabelledRows
    target: TargetSpec
    labels: np.ndarray
    splits: list[ProbeSplit]
    groups: np.ndarray | None

    @property
    def metric(self) -> str:
        known = self.labels[np.isfinite(self.labels)]
        return primary_metric(self.target.kind, len(np.unique(known)) if self.target.kind == "class" else 0)

    def inner(self, train: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Folds of training rows."""
        if self.groups is not None:
            folds: Any = GroupKFold(INNER, shuffle=True, random_state=0).split(train, groups=self.groups[train])
        elif self.target.kind == "class":
            folds = StratifiedKFold(INNER, shuffle=True, random_state=0).split(train, self.labels[train])
        else:
            folds = KFold(INNER, shuffle=True, random_state=0).split(train)
        for kept, held in folds:
            yield train[kept], train[held]


def main() -> None:
    given = parse_arguments()
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(given.threads)
    if given.choose:
        choose(given)
        return
    done = {(one["domain"], one["seed"]) for one in lines()}
    end = time.monotonic() + 60 * given.minutes
    for seed in range(given.seeds):
        for domain in given.domains:
            if (domain, seed) not in done and time.monotonic() < end:
                cell = one_cell(given, domain, seed)
                with LOG.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(cell, separators=(",", ":")) + "\n")
                print({key: value for key, value in cell.items() if key != "sets"}, flush=True)
                write_table()
    write_table()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets")
    parser.add_argument("--domains", nargs="+", choices=list(DOMAINS), default=list(DOMAINS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=600.0, help="start no cell after so many")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("small_presets"), help="folder of the trained models")
    parser.add_argument("--choose", nargs="+", metavar="WORD", help="a domain and further settings")
    parser.add_argument("--preset", default="", help="that --choose begins with; the domain's when left out")
    parser.add_argument("--baselines", action="store_true", help="--choose prints inner scores of baselines, too")
    return parser.parse_args()


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LOG.read_text("utf-8").splitlines()] if LOG.is_file() else []


# ------------------------------------------------------------------------------------------------ one cell


def one_cell(given: argparse.Namespace, domain: str, seed: int) -> dict[str, Any]:
    """Train, embed every set, and read its test part once."""
    model, minutes = trained(given, domain, seed)
    cell: dict[str, Any] = {"domain": domain, "seed": seed, "minutes": minutes, "sets": {}}
    same = DOMAINS[domain].baselines_of or domain
    raw_known = {name: one for line in lines() if line["domain"] == same for name, one in line["sets"].items()}
    if DOMAINS[domain].decoded:
        cell["sets"] = small_decoded.judged(*decoded(given, model, domain, seed), raw_known, BASELINE)
        return cell
    if DOMAINS[domain].scenes:
        readings = {one.name: one.split for one in DOMAINS[domain].sets}
        cell["sets"] = small_scenes.judged(scenes(given, model, domain, seed), readings, raw_known, BASELINE)
        return cell
    if DOMAINS[domain].dense:
        cell["sets"] = small_volumes.judged(*volumes(given, model, domain, seed), raw_known, BASELINE)
        return cell
    for one in DOMAINS[domain].sets:
        opened = open_set(model, given.data / one.path, one, DOMAINS[domain])
        features = both(model, opened, DOMAINS[domain], seed)
        forms = RAW_FORMS if DOMAINS[domain].forest else VECTOR_FORMS
        sides = {side: judged(opened, found, forms) for side, found in features.items()}
        # baselines know no seed: what the first cell has read is not read again
        sides[BASELINE] = raw_known.get(one.name, {}).get(BASELINE) or judged(opened, raw(model, opened), RAW_FORMS)
        facts = {"metric": opened.metric, "kind": opened.target.kind, "rows": test_rows(opened)}
        cell["sets"][one.name] = facts | sides
    return cell


def trained(given: argparse.Namespace, domain: str, seed: int, *further: str, name: str = "") -> tuple[Model, float]:
    """The finished run of a seed, and minutes of processor time; one that is there already is taken."""
    known, folder = DOMAINS[domain], given.keep / domain
    own: str = name or str(seed)
    note: Path = folder / f"{own}.json"
    if not note.is_file() or name:
        where = {"dataset.path": str(known.data(given.data, folder))} if known.data else {}
        overrides = [*known.settings, f"trainer.seed={seed}", f"trainer.threads={given.threads}", *further]
        resolved = resolve_run(
            registry.default(),
            known.recipe,
            preset=(given.choose and given.preset) or known.preset,
            overrides=overrides,
            settings={"dataset.name": known.reader, **where},
        )
        started = time.process_time()
        parts = assemble(resolved, LogReporter())
        result = start_run(registry.default(), parts, LogReporter(), root=folder, name=own, device="cpu")
        if result.status != "finished":
            raise SystemExit(f"{domain} {own}: {result.status} at step {result.steps}; nothing is recorded")
        told = {"minutes": round((time.process_time() - started) / 60, 1), "steps": result.steps}
        note.write_text(json.dumps(told | {"validation": result.validation}), encoding="utf-8")
    told = json.loads(note.read_text(encoding="utf-8"))
    return repcore.load(folder / own / "model"), float(told["minutes"])


def volumes(
    given: argparse.Namespace, model: Model, domain: str, seed: int
) -> tuple[small_volumes.Scans, dict[str, int]]:
    """Scans of a domain with labels of voxels, and how many of them are labelled by name of the set."""
    first, *_ = sets = DOMAINS[domain].sets
    encoders = {TRAINED: model.encoder, TWIN: model.random_twin(seed)}
    scans = small_volumes.Scans(model, encoders, given.data / first.path, first.label)
    return scans, {one.name: one.labelled for one in sets}


def decoded(
    given: argparse.Namespace, model: Model, domain: str, seed: int
) -> tuple[small_decoded.Scans, dict[str, int]]:
    """The same for a domain whose voxels a decoder reads."""
    first, *_ = sets = DOMAINS[domain].sets
    scans = small_decoded.Scans(model, given.data / first.path, first.label, seed, given.threads)
    return scans, {one.name: one.labelled for one in sets}


def scenes(given: argparse.Namespace, model: Model, domain: str, seed: int) -> small_scenes.Labelled:
    """Points of the scenes of a domain."""
    known = DOMAINS[domain]
    return small_scenes.labelled(model, given.data / known.sets[0].path, known.scenes, seed)


def open_set(model: Model, path: Path, one: Set, domain: Domain) -> Open:
    """Rows, labels and splits of a labelled set."""
    reader = model.reader(str(path), options={"labels": [one.label]} if domain.labelled else {})
    rows = read_rows(reader)
    target = next(each for each in reader.targets if each.name == one.label)
    labels = np.asarray(rows.labels(target), np.float64).reshape(len(rows.ids), -1)[:, 0]
    splits = []
    for split in outer_splits(model, rows, target, one.split):
        test = split.test
        if domain.joined and split.validation is not None:
            test = np.sort(np.concatenate([test, split.validation]))
        splits.append(ProbeSplit(split.train, test))
    groups = scaffold_groups(rows) if one.split == "scaffold" else None
    if one.split.startswith("groups:"):
        groups = np.unique([str(name) for name in rows.groups], return_inverse=True)[1]
    return Open(rows, target, labels, splits, groups)


def outer_splits(model: Model, rows: LabelledRows, target: TargetSpec, split: str) -> list[ProbeSplit]:
    """One split, or folds."""
    word, _, names = split.partition(":")
    if word == "groups":
        is_test = np.isin([str(one) for one in rows.groups], names.split(","))
        return [ProbeSplit(np.flatnonzero(~is_test), np.flatnonzero(is_test))]
    plan = split_plan(registry.default(), model.folder.preprocessor_name, rows, target, split, [0])
    return list(plan.folds[0])


def scaffold_groups(rows: LabelledRows) -> np.ndarray:
    """A number for each scaffold (N,)."""
    from repcore_molecules.smiles.scaffolds import scaffolds_of

    texts = scaffolds_of("" if one is None else str(one.inputs) for one in rows.samples)
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return np.asarray([numbers[text] for text in texts])


def vectors(model: Model, opened: Open) -> np.ndarray:
    """(N, D), NaN where a row has none."""
    return np.asarray(model.embed(opened.rows.reader, options=InferenceOptions()).vectors, np.float64)


def both(model: Model, opened: Open, domain: Domain, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Features of the encoder and of its twin by name: their vectors, and with raw features where a domain has such."""
    beside = [raw(model, opened)[name] for name in domain.beside]
    found = {}
    own = model.encoder
    for side, encoder in ((TRAINED, own), (TWIN, model.random_twin(seed))):
        model.encoder = encoder
        found[side] = {side: vectors(model, opened)}
        if beside:
            found[side][f"{side} with {', '.join(domain.beside)}"] = np.concatenate([found[side][side], *beside], 1)
    model.encoder = own
    return found


def raw(model: Model, opened: Open) -> dict[str, np.ndarray]:
    """The baselines that the preprocessor names."""
    features, reader = RawFeatures.of(model), opened.rows.reader
    for first in range(0, len(reader), READ_AT_ONCE):  # rows that were read for their labels keep no large inputs
        features.add([read_or_none(reader, row) for row in range(first, min(first + READ_AT_ONCE, len(reader)))])
    return features.joined()


def read_or_none(reader: DatasetReader, row: int) -> Sample | None:
    try:
        return read_sample(reader, row)
    except ItemError:
        return None


def judged(opened: Open, features: dict[str, np.ndarray], forms: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """The best features and probe by inner folds of each training part, and what they say of the test part."""
    chosen, folds = [], []
    usable = np.isfinite(opened.labels) & np.all([np.isfinite(one).all(1) for one in features.values()], axis=0)
    for split in opened.splits:
        train, test = split.train[usable[split.train]], split.test[usable[split.test]]
        tried = inner_scores(opened, features, forms, train)
        sign = 1.0 if metric_of(opened.metric).higher_is_better else -1.0
        name, form = max(tried, key=lambda key: sign * tried[key])
        score = probe(opened, form, features[name], ProbeSplit(train, test))
        chosen.append(f"{name}, {form}" if name not in (TRAINED, TWIN) else form)
        folds.append(written(opened, score))
    return {"score": round(statistics.mean(one["score"] for one in folds), 4), "chosen": chosen, "folds": folds}


def inner_scores(
    opened: Open, features: dict[str, np.ndarray], forms: dict[str, tuple[str, ...]], train: np.ndarray
) -> dict[tuple[str, str], float]:
    """Mean over inner folds by features and probe; a probe that is not for such labels is left out."""
    found = {}
    for name, matrix in features.items():
        for form in forms[opened.target.kind]:
            splits = [ProbeSplit(kept, held) for kept, held in opened.inner(train)]
            scores = [probe(opened, form, matrix, one)[opened.metric] for one in splits]
            found[name, form] = float(np.nanmean(scores))
    return found


def probe(opened: Open, form: str, matrix: np.ndarray, split: ProbeSplit) -> Scores:
    found = build_probe(registry.default(), form, opened.target).score(matrix, opened.labels, opened.target, split, 0)
    assert isinstance(found, Scores)
    return found


def written(opened: Open, scores: Scores) -> dict[str, Any]:
    """What a verdict needs of a fold: the value, and one number an item."""
    assert scores.truth is not None
    assert scores.predictions is not None
    assert scores.rows is not None
    truth, guess = scores.truth[:, 0], scores.predictions
    if opened.metric == "accuracy":
        each = (guess.argmax(1) == truth).astype(int).tolist()
    else:
        each = [float(f"{one:.5g}") for one in (guess[:, 1] if opened.target.kind == "class" else guess[:, 0])]
    rows = [int(one) for one in scores.rows]
    return {"score": round(float(scores[opened.metric]), 4), "each": each, "truth": truth.tolist(), "rows": rows}


def test_rows(opened: Open) -> int:
    return int(sum(np.isfinite(opened.labels[split.test]).sum() for split in opened.splits))


# ------------------------------------------------------------------------------------------------ the table


def write_table() -> None:
    """One row a set over the seeds that are there."""
    cells = lines()
    text = [
        "# Presets `small`: trained, random twin, best simple baseline",
        "",
        "Protocol: first lines of benchmarks/small_presets.py. Means over pre-training seeds; differences with a 95 %",
        "interval over test items, the same draws for all seeds. Minutes of processor time on one core.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---" * len(COLUMNS) + "|",
    ]
    for domain, known in DOMAINS.items():
        here = sorted((one for one in cells if one["domain"] == domain), key=lambda one: int(one["seed"]))
        if here:
            text += [row(domain, one, [cell["sets"][one.name] for cell in here], here) for one in known.sets]
    TABLE.write_text("\n".join(text) + "\n", encoding="utf-8")


def row(domain: str, one: Set, found: Sequence[dict[str, Any]], cells: Sequence[dict[str, Any]]) -> str:
    meaning = metric_of(found[0]["metric"])
    arrow = "up" if meaning.higher_is_better else "down"
    minutes = statistics.mean(cell["minutes"] for cell in cells)
    best = found[0][BASELINE]
    words = ", ".join(dict.fromkeys(best["chosen"])) if len(set(best["chosen"])) == 1 else "chosen in each fold"
    shown = [
        f"{domain}, {DOMAINS[domain].shown or DOMAINS[domain].preset}",
        f"{one.name}, {meaning.title} {arrow}, {found[0]['rows']}",
        str(len(found)),
        mean(found, TRAINED),
        mean(found, TWIN),
        f"{best['score']:.3f} ({words})",
        in_words(against(found, TWIN)),
        in_words(against(found, BASELINE)),
        f"{minutes:.0f}",
    ]
    return "| " + " | ".join(shown) + " |"


def mean(found: Sequence[dict[str, Any]], side: str) -> str:
    values = [one[side]["score"] for one in found]
    spread = f" +- {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def against(found: Sequence[dict[str, Any]], other: str) -> Comparison:
    """Core's comparison of the trained encoder with a side."""
    kind = found[0]["kind"]
    target = TargetSpec("label", kind, names=("0", "1") if kind == "class" else ())
    sides = [(side, [[read(one, fold) for fold in one[side]["folds"]] for one in found]) for side in (TRAINED, other)]
    return compare(
        "chosen", found[0]["metric"], (sides[0], sides[1]), target, generator=np.random.default_rng(0), resamples=2000
    )


def read(one: dict[str, Any], fold: dict[str, Any]) -> Scores:
    """Scores of a fold as they were."""
    scores = Scores({one["metric"]: fold["score"]})
    each = np.asarray(fold["each"], np.float64)
    scores.rows, scores.truth = np.asarray(fold["rows"]), np.asarray(fold["truth"])[:, None]
    if "counts" in fold:
        scores.confusions = np.asarray(fold["counts"])
    elif one["metric"] in ("accuracy", "dice"):
        scores.per_row = {one["metric"]: each}
    elif one["kind"] == "class":
        scores.predictions = np.stack([-each, each], 1)
    else:
        scores.predictions = each[:, None]
    return scores


def in_words(found: Comparison) -> str:
    low, high = found.interval
    sign = 1.0 if metric_of(found.metric).higher_is_better else -1.0
    count = len(found.differences)
    excludes = low > 0 or high < 0
    if excludes and found.better_on == count:
        verdict = "above"
    elif excludes and all(sign * one < 0 for one in found.differences):
        verdict = "below"
    else:
        verdict = f"open, better on {found.better_on} of {count}"
    return f"{verdict}: {found.mean:+.3f} ({low:+.3f} to {high:+.3f})"


# ------------------------------------------------------------------------------------------------ choosing


def choose(given: argparse.Namespace) -> None:
    """Train with further settings and print inner scores; no test row is read."""
    domain, *further = given.choose
    model, minutes = trained(given, domain, CHOOSING_SEED, *further, name=f"choose-{time.time_ns()}")
    if DOMAINS[domain].decoded:
        for name, told in small_decoded.inner(*decoded(given, model, domain, CHOOSING_SEED)).items():
            print(json.dumps({"set": name, "metric": "dice", "minutes": minutes, **told}), flush=True)
        return
    if DOMAINS[domain].scenes:
        points = scenes(given, model, domain, CHOOSING_SEED)
        for one in DOMAINS[domain].sets:
            told = small_scenes.inner(points, one.split, (TRAINED, TWIN, *([BASELINE] if given.baselines else [])))
            print(json.dumps({"set": one.name, "metric": "miou", "minutes": minutes, **told}), flush=True)
        return
    if DOMAINS[domain].dense:
        scans, counts = volumes(given, model, domain, CHOOSING_SEED)
        for name, told in small_volumes.inner(scans, counts, [BASELINE] if given.baselines else []).items():
            print(json.dumps({"set": name, "metric": "dice", "minutes": minutes, **told}), flush=True)
        return
    for one in DOMAINS[domain].sets:
        opened = open_set(model, given.data / one.path, one, DOMAINS[domain])
        forms = RAW_FORMS if DOMAINS[domain].forest else VECTOR_FORMS
        sides = [(found, forms) for found in both(model, opened, DOMAINS[domain], CHOOSING_SEED).values()]
        sides += [(raw(model, opened), RAW_FORMS)] if given.baselines else []
        for features, forms in sides:
            usable = np.isfinite(opened.labels) & np.all([np.isfinite(each).all(1) for each in features.values()], 0)
            train = opened.splits[0].train
            tried = inner_scores(opened, features, forms, train[usable[train]])
            told = {f"{name} {form}": round(value, 4) for (name, form), value in tried.items()}
            print(json.dumps({"set": one.name, "metric": opened.metric, "minutes": minutes, **told}), flush=True)


if __name__ == "__main__":
    main()
