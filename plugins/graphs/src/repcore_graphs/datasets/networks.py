"""Files of networks (GraphML, GML, node-link JSON, MatrixMarket, ...): one file, or a folder with one graph a file.

Node and edge attributes that every graph has become features: numbers as attributes, words as labels. An attribute
named like a label is a target where its values are one; identifiers, coordinates for drawing and attributes that some
nodes lack are left out and named. Folders called like parts of a split are parts, other folders are classes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repcore.data.accounting import Accounting, walk
from repcore.data.catalogue import Catalogue, CatalogueReader, Row, class_target, existing, rows_by
from repcore.data.cells import Decimal, TableNumbers, number, read_numbers, words_of
from repcore.data.encodings import head_text
from repcore.data.first_files import first_files
from repcore.data.groups import groups_in_paths
from repcore.data.labels import LabelColumn, read_label
from repcore.data.splits import folder_part
from repcore.errors import DataError, ItemError
from repcore.files import parse_json
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_graphs.configs.data import NetworkConfig
from repcore_graphs.datasets.graph_targets import CHANGE
from repcore_graphs.datasets.network_labels import GraphTable, read_graph_table
from repcore_graphs.datasets.raw_graph import ONE_GRAPH, RawGraph, check_graph
from repcore_graphs.formats.adjacency import adjacency_in, may_be_adjacency
from repcore_graphs.formats.networks import SUFFIXES, Network, json_kind, read_networks
from repcore_graphs.formats.text_networks import CITES, is_konect, planetoid_files

LABEL_NAMES = ("label", "class", "y", "target", "community", "club", "group")
DRAWN = {"pos", "x", "y", "z", "graphics", "viz", "color", "colour", "shape", "size"}  # how a node looks
IDENTIFIERS = {"id", "name", "key", "title", "uuid"}
MOST_WORDS = 1000
SNIFFED_BYTES = 1 << 16
LINES = 20
TEXTS = (".sif", ".dot", ".gv", ".content")
SAMPLED_MATRICES = 5  # files of a folder; a table of labels may be among them
EDGE_LINE = re.compile(r"\s*[^\s,;]+[\s,;]+[^\s,;]+\s*([\s,;]\s*(\{.*|[-+\d.eE]+\s*))?$")


def sniff(path: Path) -> float:
    """0.9 for a file whose suffix is a graph format's own, 0.8 for JSON of a graph, less for a folder of them."""
    if path.is_dir():
        found = first_files(path)
        if planetoid_files(found):
            return 0.0 if any(one.parent.name == "processed" for one in found) else 0.9
        graphs = [one for one in found if one.suffix.lower() in SUFFIXES or is_konect(one)]
        if any(is_konect(one) for one in graphs) or _has_linqs(graphs):
            return 0.9
        if not graphs:
            return 0.75 if _are_matrices(found) else 0.0
        if len(graphs) <= len(found) / 2:
            return 0.0
        lists = [one for one in graphs if one.suffix.lower() == ".edgelist"]
        if len(lists) > 1:  # a single one may be the edges of a folder of tables
            return 0.76 if _is_edge_list(lists[0]) else 0.0
        return 0.8 * sniff(graphs[0])
    suffix = path.suffix.lower()
    if is_konect(path):
        return 0.95
    if suffix in (".json", ".jsonl"):
        return 0.8 if _is_graph_json(path) else 0.0
    if suffix == ".edgelist":
        return 0.95 if "{" in _head(path) else 0.0
    if may_be_adjacency(path):
        matrix = adjacency_in(path)
        return 0.0 if matrix is None else 0.93 if matrix.is_named else 0.75
    if suffix == ".npz":
        return 0.8 if _is_sparse_matrix(path) else 0.0
    if suffix in (".graphml", ".gexf"):
        return 0.9 if f"<{suffix[1:]}" in _head(path).lower() else 0.0
    if suffix in TEXTS:  # a container of Singularity and a template of Word have these endings, too
        return 0.9 if "\0" not in _head(path) else 0.0
    return 0.9 if suffix in SUFFIXES else 0.0


def _has_linqs(files: Sequence[Path]) -> bool:
    return any(one.suffix.lower() == ".content" and one.with_suffix(CITES).is_file() for one in files)


def _are_matrices(files: Sequence[Path]) -> bool:
    """Whether most files of a folder are adjacency matrices, as far as the first ones tell."""
    tables = [one for one in files if may_be_adjacency(one)]
    if len(tables) < 2 or len(tables) <= len(files) / 2:
        return False
    found = [adjacency_in(one) is not None for one in tables[:SAMPLED_MATRICES]]
    return sum(found) > len(found) / 2


def _head(path: Path) -> str:
    return head_text(path, SNIFFED_BYTES)


def _is_edge_list(path: Path) -> bool:
    """Every line is two ends, and at most a number or attributes in braces."""
    lines = [one for one in _head(path).splitlines()[:LINES] if one.strip() and one.lstrip()[0] not in "#%"]
    return bool(lines) and all(EDGE_LINE.match(one) for one in lines)


def _is_graph_json(path: Path) -> bool:
    if path.suffix.lower() == ".jsonl":
        first = next((line for line in _head(path).splitlines() if line.strip()), "")
    elif path.stat().st_size <= SNIFFED_BYTES:
        first = _head(path)
    else:
        return '"nodes"' in _head(path) or '"links"' in _head(path) or '"adjacency"' in _head(path)
    try:
        content = parse_json(first.lstrip("\ufeff"))
    except ValueError:
        return False
    return bool(json_kind(content[0] if isinstance(content, list) and content else content))


def _is_sparse_matrix(path: Path) -> bool:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {"format", "shape", "data"} <= set(archive.files)
    except (OSError, ValueError):
        return False


@dataclass(slots=True)
class Found:
    """A graph of a file, or why there is none."""

    id: str
    file: Path
    network: Network | None
    problem: tuple[str, str] | None = None
    folder: str = ""


class NetworkDataset(CatalogueReader[Network, RawGraph]):
    """Reader of network files.

    Args:
        config: path, and what the labels are.

    Raises:
        DataError: nothing there, or nothing that can be read.
    """

    noun = "graph"

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        path = existing(config.path, "graph")
        account = Accounting(root=path if path.is_dir() else path.parent)
        _refuse_pickles(path)
        found = list(_find(path, config.directed))
        graphs = [one.network for one in found if one.network is not None]
        self._nodes = _Table("node", graphs, account, config.label_kind)
        self._edges = _Table("edge", graphs, account, config.label_kind)
        _tell_directions(graphs, account)
        _tell_remarks(found, account)
        if len(graphs) == 1:
            account.note(ONE_GRAPH)
        super().__init__(
            _catalogue(found, account, self._nodes.targets, config.label_kind),
            path,
            expected=f"files ending in {', '.join(SUFFIXES)}",
        )
        self._number = {id(one): number for number, one in enumerate(graphs)}

    def read(self, row: Row[Network]) -> RawGraph:
        """The graph with its features.

        Raises:
            ItemError: see :func:`check_graph`.
        """
        network = row.source
        number = self._number[id(network)]
        graph = RawGraph(
            num_nodes=len(network.names),
            edge_index=network.arcs,
            **self._nodes.features(network.nodes, len(network.names)),
            **self._edges.features(network.edges, network.arcs.shape[1]),
            node_targets=self._nodes.labels(number),
            edge_of=network.edge_of,
            columns={**self._nodes.columns, **self._edges.columns},
        )
        check_graph(graph)
        return graph

    def size_of(self, content: RawGraph) -> int:
        return content.edge_index.nbytes

    def facts(self, content: RawGraph) -> Mapping[str, Any]:
        return {"nodes": content.num_nodes, "edges": content.edge_index.shape[1]}

    def sample(self, row: Row[Network], content: RawGraph) -> Sample:
        meta = dict(self.facts(content))
        if self._veil is None:  # nodes may be people
            meta["node_names"] = tuple(map(str, row.source.names))
        return Sample(row.id, content, {**row.targets, **content.element_targets}, row.group, meta)


# ------------------------------------------------------------------------------------------------- files


def _refuse_pickles(path: Path) -> None:
    """Refuse the files of Planetoid.

    Raises:
        DataError: they are pickles.
    """
    pickled = planetoid_files(first_files(path)) if path.is_dir() else []
    if pickled:
        name = pickled[0].name.split(".")[1]
        raise DataError(
            f"{str(path)!r} holds the files of Planetoid ({pickled[0].name}, ...), which are pickles",
            meaning="unpickling a file runs whatever code it holds, so that none is unpickled here",
            hint=f"where you trust them: torch_geometric.datasets.Planetoid(root, {name!r}) writes processed/data.pt, "
            f"which graphs/pyg reads; or {name}.content with {name}.cites of LINQS as a folder",
        )


def _tell_remarks(found: Sequence[Found], account: Accounting) -> None:
    """What should be known of how graphs were read, once for all of which the same is said."""
    ids: dict[str, list[str]] = {}
    for one in found:
        for remark in one.network.remarks if one.network is not None else ():
            ids.setdefault(remark, []).append(one.id)
    for remark, those in ids.items():
        account.note(f"{those[0]}{f' and {len(those) - 1:,} more' if len(those) > 1 else ''}: {remark}")


def _tell_directions(graphs: Sequence[Network], account: Accounting) -> None:
    silent = [one for one in graphs if not one.says_direction]
    if silent:
        chosen = "one-way" if silent[0].is_directed else "both ways"
        account.guess("edges", chosen, "the format does not say", "dataset.directed=true|false")
    stored = [one.is_directed for one in graphs if one.says_direction]
    for is_directed, word in ((False, "undirected"), (True, "directed")):
        if stored.count(is_directed):
            account.note(f"stored as {word}: {stored.count(is_directed)} of {len(graphs)} graphs")


def _find(path: Path, directed: bool) -> Iterator[Found]:
    """Graphs of all files, in order of their paths."""
    files = [path]
    if path.is_dir():
        there = [one.path for one in walk(path) if not (one.problem or one.left_out)]
        files = [one for one in there if one.suffix.lower() in SUFFIXES or is_konect(one)]
        files = files or [one for one in there if may_be_adjacency(one) and adjacency_in(one) is not None]
    for file in files:
        name = file.name if file == path else file.relative_to(path).as_posix()
        folder = "" if file == path or file.parent == path else file.relative_to(path).parts[0]
        try:
            networks = read_networks(file, directed=directed)
        except ItemError as error:
            yield Found(name, file, None, (error.status, error.reason), folder)
            continue
        for place, network in enumerate(networks):
            yield Found(name if len(networks) == 1 else f"{name}:{place}", file, network, None, folder)


def _catalogue(
    found: Sequence[Found], account: Accounting, node_targets: Sequence[TargetSpec], kind: str
) -> Catalogue[Network]:
    folders = [one.folder for one in found]
    splits: dict[str, list[int]] = {}
    targets: list[TargetSpec] = list(node_targets)
    values: list[dict[str, Any]] = [{} for _ in found]
    parts = [folder_part(one) for one in folders]
    if all(parts):
        splits = rows_by(parts)
        account.guess("folders", "parts of a split", f"they are called {', '.join(sorted(set(folders)))}")
    elif all(folders) and len(set(folders)) > 1:
        spec, number = class_target("folder", folders)
        targets.append(spec)
        account.guess("label 'folder'", f"class ({', '.join(spec.names[:6])})", "every graph lies in one of them")
        for row, one in enumerate(folders):
            values[row]["folder"] = float(number[one])
    beside = GraphTable()
    if account.root is not None and len({one.file for one in found}) > 1:
        beside = read_graph_table(account.root, [one.id for one in found], kind, account, {one.file for one in found})
    if beside.parts is not None:
        splits = rows_by(beside.parts)
    own = list(_graph_labels(found, kind))
    for label in own:
        label.tell(account)
    for label in (*own, *beside.labels):
        if label.target is not None:
            targets.append(label.target)
            for row in range(len(found)):
                values[row][label.name] = label.value(row)
    groups, said = (beside.groups, "") if beside.groups else groups_in_paths([one.file for one in found], account.root)
    account.note(said) if said else None
    rows = [
        Row(one.id, one.network, values[row], groups[row], one.problem, files=_files_of(one.file))
        for row, one in enumerate(found)
    ]
    return Catalogue(rows, targets, splits, account=account)  # type: ignore[arg-type]


def _files_of(file: Path) -> tuple[Path, ...]:
    """A file, and the one with its edges where they lie apart."""
    beside = file.with_suffix(CITES)
    return (file, beside) if file.suffix.lower() == ".content" and beside.is_file() else (file,)


def _graph_labels(found: Sequence[Found], kind: str) -> Iterator[LabelColumn]:
    """Attributes of whole graphs that are called like labels."""
    about = [{} if one.network is None else one.network.about for one in found]
    for name in dict.fromkeys(key for one in about for key in one if str(key).lower() in LABEL_NAMES):
        yield read_label(str(name), [one.get(name) for one in about], kind=kind, change=CHANGE)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------- features


class _Table:
    """Attributes of the nodes (or edges) of all graphs: which are features, and which one is a label."""

    def __init__(self, what: str, graphs: Sequence[Network], account: Accounting, kind: str) -> None:
        self.what = what
        self.numbers: dict[str, Decimal] = {}
        self.words: list[str] = []
        self.targets: list[TargetSpec] = []
        self._starts = np.cumsum([0, *(len(one.names) for one in graphs)])
        self._label: LabelColumn | None = None
        self._label_names: set[str] = set()
        counts = [len(one.names) if what == "node" else one.arcs.shape[1] for one in graphs]
        held = [one.nodes if what == "node" else one.edges for one in graphs]
        names = list(dict.fromkeys(name for columns in held for name in columns))
        lower = {name.lower() for name in names}
        self._drawn = DRAWN if {"x", "y"} <= lower or "pos" in lower else DRAWN - {"x", "y", "z"}
        if what == "node":
            self._label_names = {
                name for name in names if name.lower() in LABEL_NAMES and not (name == "y" and "x" in names)
            }
        cells_of = {
            name: [
                cell for columns, count in zip(held, counts, strict=True) for cell in columns.get(name, [None] * count)
            ]
            for name in names
        }
        self._as_numbers = TableNumbers(cells_of)
        for name, cells in cells_of.items():
            self._judge(name, cells, account, kind)

    def _judge(self, name: str, cells: list[Any], account: Accounting, kind: str) -> None:
        said = f"{self.what} attribute {name!r}"
        if self._label is None and name in self._label_names and _is_plain(cells):
            comma = self._as_numbers.comma_for(cells)
            label = read_label(f"node_{name}", cells, kind=kind, comma=comma, change=CHANGE)  # type: ignore[arg-type]
            if label.target is not None:
                label.tell(account)
                self._label = label
                self.targets.append(TargetSpec(label.name, label.target.kind, level="node", names=label.target.names))
                return
        texts = words_of(cells) if _is_plain(cells) else []
        empty = texts.count(None)
        if not _is_plain(cells):
            account.guess(said, "left out", "its values are neither numbers nor words", is_loss=True)
        elif name.lower() in self._drawn:
            account.guess(said, "left out", "it says how to draw")
        elif empty:
            why = f"{empty:,} of {len(cells):,} {self.what}s lack it"
            account.guess(said, "left out", why, is_loss=True)
        elif all(isinstance(cell, int | float) for cell in cells):
            self.numbers[name] = "."
            account.guess(said, "a number", f"every {self.what} has one")
        elif name.lower() in IDENTIFIERS:
            account.guess(said, "left out", f"its name says that it tells {self.what}s apart")
        elif (sign := self._decimals(name, cells)) is not None:
            self.numbers[name] = sign
            written = self._as_numbers.read(name)[1]
            account.guess(said, "a number", "; ".join(filter(None, (f"every {self.what} has one as text", written))))
        elif len(words := {str(cell) for cell in cells}) <= min(MOST_WORDS, max(2, len(cells) / 4)):
            self.words.append(name)
            account.guess(said, f"{len(words)} categories", "its values are words that come again")
        else:
            account.guess(said, "left out", f"{len(words):,} different words: it tells {self.what}s apart")

    def _decimals(self, name: str, cells: Sequence[Any]) -> Decimal | None:
        """The decimal sign of texts that are numbers; None where they are not, or are whole and may be codes."""
        numbers, _ = self._as_numbers.read(name)
        if numbers.number_share < 1.0:
            return None
        if not np.array_equal(read_numbers(name, cells).values, numbers.values):
            return ","
        return "." if (numbers.values != np.round(numbers.values)).any() else None

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """Names of the columns of features, by field of RawGraph."""
        named = {f"{self.what}_attributes": tuple(self.numbers), f"{self.what}_labels": tuple(self.words)}
        return {name: columns for name, columns in named.items() if columns}

    def features(self, columns: Mapping[str, list[Any]], count: int) -> dict[str, Any]:  # keyword arguments of RawGraph
        found: dict[str, Any] = {}
        if self.numbers:
            values = [
                [number(one, sign) for one in columns.get(name, [math.nan] * count)]
                for name, sign in self.numbers.items()
            ]
            found[f"{self.what}_attributes"] = np.asarray(values, np.float32).reshape(len(values), count).T.copy()
        if self.words:
            texts = [[str(one) for one in columns.get(name, [""] * count)] for name in self.words]
            found[f"{self.what}_labels"] = np.asarray(texts, str).reshape(len(texts), count).T.copy()
        return found

    def labels(self, number: int) -> dict[str, np.ndarray]:
        """Label of each node of one graph."""
        if self._label is None:
            return {}
        rows = slice(self._starts[number], self._starts[number + 1])
        return {self._label.name: self._label.values[rows]}


def _is_plain(cells: Iterable[Any]) -> bool:
    return all(cell is None or isinstance(cell, str | int | float) for cell in cells)
