"""Files that networkx and scipy read: GraphML, GML, GEXF, Pajek, node-link JSON, attributed edge lists, MatrixMarket.

The libraries do the format; what they give becomes :class:`Network`, with structure as stored: a directed graph keeps
its directions, an undirected edge becomes both, parallel edges and self edges stay. Matrices are read without networkx,
so that a large one costs no more than its entries. Symbols: N nodes, A arcs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from repcore.data.allocation import check_allocation, open_arrays
from repcore.data.encodings import whole_text
from repcore.errors import ItemError
from repcore.files import parse_json
from repcore_graphs.formats.adjacency import adjacency_in, may_be_adjacency
from repcore_graphs.formats.dot import read_dot
from repcore_graphs.formats.text_networks import Parts, is_konect, read_konect, read_linqs, read_sif

if TYPE_CHECKING:
    import networkx as nx

KONECT = "out."  # stands for the suffix of files that are called out.NAME
MATRICES = (".mtx", ".npz")
SUFFIXES = (
    ".graphml", ".gml", ".gexf", ".net", ".paj", ".json", ".jsonl", ".g6", ".s6", ".edgelist", ".sif", ".dot", ".gv",
    ".content", *MATRICES,
)  # fmt: skip
NODE_BYTES = 64  # that a node takes with its name
ENTRY_BYTES = 16  # of an entry of a matrix
SIZES = ("num_nodes", "n_nodes", "number_of_nodes")


@dataclass(slots=True)
class Network:
    """One graph as a file stores it.

    Args:
        names: of the N nodes, as text.
        arcs: int64 (2, A); an undirected edge stands in both directions, one right after the other.
        edge_of: int64 (A,), the stored edge of each arc; None where each arc is stored.
        is_directed: whether directions mean something.
        nodes / edges: attribute name -> one value a node (an arc), None where it has none.
        about: attributes of the whole graph.
        says_direction: whether the format tells directed graphs from others.
        remarks: what people should know of how it was read.
    """

    names: list[str]
    arcs: np.ndarray
    is_directed: bool
    nodes: dict[str, list[Any]] = field(default_factory=dict)
    edges: dict[str, list[Any]] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    says_direction: bool = True
    edge_of: np.ndarray | None = None
    remarks: list[str] = field(default_factory=list)


def read_networks(path: Path, *, directed: bool = False) -> list[Network]:
    """All graphs of a file.

    Args:
        path: the file.
        directed: whether edges are one-way where the format does not say.

    Raises:
        ItemError: the file cannot be read as what its name says.
    """
    suffix = KONECT if is_konect(path) else path.suffix.lower()
    read = _READERS.get(suffix, _adjacency)
    if suffix not in (*SUFFIXES, KONECT) and not may_be_adjacency(path):
        raise ItemError("unknown_format", f"{suffix!r} is no suffix of graphs")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = list(_edge_list(path, directed) if suffix == ".edgelist" else read(path))
    except ItemError:
        raise
    except Exception as error:  # the libraries raise whatever their parsers meet
        words = " ".join(str(error).split())[:200]
        raise ItemError("unreadable", f"not readable as {suffix[1:]}: {words or type(error).__name__}") from error
    if not found:
        raise ItemError("unreadable", "the file holds no graph")
    return found


def from_networkx(graph: nx.Graph) -> Network:
    """A networkx graph of any class."""
    place = {node: number for number, node in enumerate(graph)}
    ends: list[int] = []
    held: list[Mapping[str, Any]] = []
    edge_of: list[int] = []
    for number, (source, target, data) in enumerate(graph.edges(data=True)):
        both = not graph.is_directed() and source != target
        for u, v in ((source, target), (target, source)) if both else ((source, target),):
            ends += (place[u], place[v])
            held.append(data)
            edge_of.append(number)
    return Network(
        names=[str(node) for node in graph],
        arcs=np.asarray(ends, np.int64).reshape(-1, 2).T.copy(),
        edge_of=None if graph.is_directed() else np.asarray(edge_of, np.int64),
        is_directed=graph.is_directed(),
        nodes=_columns([data for _, data in graph.nodes(data=True)]),
        edges=_columns(held),
        about=dict(graph.graph),
    )


def from_parts(parts: Parts) -> Network:
    """A network of names and edges; an undirected edge becomes both arcs."""
    arcs: list[tuple[int, int]] = []
    edge_of: list[int] = []
    for number, (source, target) in enumerate(parts.edges):
        both = not parts.is_directed and source != target
        arcs += [(source, target), (target, source)] if both else [(source, target)]
        edge_of += [number] * (1 + both)
    return Network(
        names=parts.names,
        arcs=np.asarray(arcs, np.int64).reshape(-1, 2).T.copy(),
        edge_of=None if parts.is_directed else np.asarray(edge_of, np.int64),
        is_directed=parts.is_directed,
        nodes=parts.node_columns,
        edges={name: [cells[edge] for edge in edge_of] for name, cells in parts.edge_columns.items()},
        remarks=parts.remarks,
    )


def _text(read: Callable[[Path], Parts]) -> Callable[[Path], Iterable[Network]]:
    return lambda path: [from_parts(read(path))]


def _columns(rows: list[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(str(name) for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


# ------------------------------------------------------------------------------------------------ formats


def _networkx(read: str, **options: Any) -> Callable[[Path], Iterable[Network]]:
    def graphs(path: Path) -> Iterable[Network]:
        import networkx as nx

        found = getattr(nx, read)(path, **options)
        return [from_networkx(one) for one in (found if isinstance(found, list) else [found])]

    return graphs


def _graphml(path: Path) -> Iterable[Network]:
    """Every graph of the file: networkx' own function gives the first one only."""
    import networkx as nx
    from networkx.readwrite.graphml import GraphMLReader

    found = list(GraphMLReader()(path=path)) or [nx.read_graphml(path)]  # which mends a header without namespace
    return [from_networkx(one) for one in found]


def _gml(path: Path) -> Iterable[Network]:
    """Labels need not be unique in GML, or be there at all: nodes are told apart by their ids."""
    import networkx as nx

    return [_named(from_networkx(nx.read_gml(path, label=None)))]


def _gexf(path: Path) -> Iterable[Network]:
    import networkx as nx

    return [_named(from_networkx(nx.read_gexf(path)))]


def _named(network: Network) -> Network:
    """In GML and GEXF a node's label is the name by which it is shown, not what it is."""
    labels = network.nodes.pop("label", network.names)
    network.names = [name if label is None else str(label) for name, label in zip(network.names, labels, strict=True)]
    return network


def _json(path: Path) -> Iterable[Network]:
    content = parse_json(whole_text(path))
    return [_from_json(one) for one in (content if isinstance(content, list) else [content])]


def _json_lines(path: Path) -> Iterable[Network]:
    lines = whole_text(path).splitlines()
    return [_from_json(parse_json(line)) for line in lines if line.strip()]


def json_kind(content: Any) -> str:
    """``node-link``, ``adjacency`` or ``cytoscape``; empty if JSON content is no graph that is known."""
    if not isinstance(content, Mapping):
        return ""
    if "nodes" in content and isinstance(content.get("links", content.get("edges")), list):
        return "node-link"
    if "nodes" in content and isinstance(content.get("adjacency"), list):
        return "adjacency"
    elements = content.get("elements")
    return "cytoscape" if isinstance(elements, Mapping) and "nodes" in elements else ""


def _from_json(content: Any) -> Network:
    import networkx as nx

    kind = json_kind(content)
    if kind == "node-link":
        return from_networkx(nx.node_link_graph(_with_keys(content), edges="links" if "links" in content else "edges"))
    if kind == "adjacency":
        return from_networkx(nx.adjacency_graph(content))
    if kind == "cytoscape":
        return from_networkx(nx.node_link_graph(_with_keys(_flat(content)), edges="edges"))
    raise ItemError("unreadable", "the JSON is no graph: expected nodes with links (or edges), or with adjacency")


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    """Cytoscape's JSON as node-link data: what stands under ``data`` of every element."""
    elements = content["elements"]
    found = {name: [one["data"] for one in elements.get(name, ())] for name in ("nodes", "edges")}
    return {"directed": bool(content.get("directed", False)), **found}


def _with_keys(content: Mapping[str, Any]) -> dict[str, Any]:
    """Node-link data as networkx wants it: D3 and others number nodes by their place where they have no id."""
    nodes = [
        {**one, "id": one.get("id", one.get("name", place))} if isinstance(one, Mapping) else {"id": one}
        for place, one in enumerate(content["nodes"])
    ]
    edges = "links" if "links" in content else "edges"
    known = {one["id"] for one in nodes}
    links = []
    given = [
        link if isinstance(link, Mapping) else dict(zip(("source", "target"), link, strict=False))
        for link in content[edges]
    ]
    if _by_place(nodes, given, known):
        given = [{**one, **{end: nodes[one[end]]["id"] for end in ("source", "target")}} for one in given]
    for number, one in enumerate(given):
        for end in ("source", "target"):
            if end not in one:
                raise ItemError("incomplete_edge", f"link {number} has no {end}")
            if one[end] not in known:
                raise ItemError("dangling_edge", f"link {number} names node {one[end]!r}, which is not among the nodes")
        links.append(one)
    return {"directed": False, "multigraph": True, "graph": {}, **content, "nodes": nodes, edges: links}


def _by_place(nodes: list[Any], links: list[Mapping[str, Any]], known: set[Any]) -> bool:
    """Whether links give places of nodes, as D3 writes them: whole numbers, none of which is a node's own name."""
    ends = {one.get(end) for one in links for end in ("source", "target")}
    return bool(ends) and not ends & known and all(isinstance(end, int) and 0 <= end < len(nodes) for end in ends)


def _edge_list(path: Path, directed: bool) -> Iterable[Network]:
    """Lines ``source target {attributes}`` as networkx writes them; ids that are all whole numbers sort as such."""
    import networkx as nx

    lines = whole_text(path).splitlines()
    body = [line for line in lines if line.strip() and not line.lstrip().startswith(("#", "%"))]
    if not body:
        raise ItemError("unreadable", "the file holds no edge")
    delimiter = "," if body[0].split("{")[0].count(",") else None
    remarks = []
    pairs = [line.replace(",", " ").split()[:2] for line in body]
    if all(len(one) == 2 for one in pairs) and counts_the_rest(*map(list, zip(*pairs, strict=True))):
        remarks = [f"the first line, {body[0]!r}, counts nodes and edges: it is no edge"]
        body = body[1:]
    is_weighted = "{" not in body[0] and len(body[0].split(delimiter)) == 3
    graph = nx.parse_edgelist(
        body,
        comments=None,
        delimiter=delimiter,
        create_using=nx.MultiDiGraph if directed else nx.MultiGraph,
        data=(("weight", float),) if is_weighted else True,
    )
    if graph.number_of_edges() != len(body):
        raise ItemError("incomplete_edge", f"{len(body) - graph.number_of_edges()} of {len(body)} lines are no edges")
    if all(str(node).isdecimal() for node in graph):
        ordered = graph.__class__()
        ordered.add_nodes_from(sorted(graph, key=int))
        ordered.add_edges_from(graph.edges(data=True))
        graph = ordered
    network = from_networkx(graph)
    network.says_direction, network.remarks = False, remarks
    return [network]


def counts_the_rest(sources: Sequence[str], targets: Sequence[str]) -> bool:
    """Whether the first pair is no edge but the numbers of nodes and edges that follow, as some collections write."""
    if len(sources) < 3 or not targets[0].isdecimal() or int(targets[0]) != len(sources) - 1:
        return False
    return sources[0].isdecimal() and int(sources[0]) == len({*sources[1:], *targets[1:]})


def _adjacency(path: Path) -> Iterable[Network]:
    """A matrix in a table or an array."""
    found = adjacency_in(path)
    if found is None:
        raise ItemError("unreadable", f"{path.name} is no adjacency matrix: a square of numbers")
    network = _from_matrix(found.values, is_directed=True)
    network.names, network.says_direction = found.names, True
    why = "rows and columns have the same names" if found.is_named else "its entries look like edges"
    network.remarks.append(f"read as adjacency matrix: {why}; entry (i, j) is an edge from i to j")
    return [network]


def _matrix_market(path: Path) -> Iterable[Network]:
    from scipy import io

    rows, columns, entries, form, _, symmetry = io.mminfo(path)
    least = 2 * entries if form == "array" else 4 * entries  # bytes of a line
    packed = path.suffix.lower() in (".gz", ".bz2")
    if least > path.stat().st_size and not packed and symmetry == "general":
        raise ItemError("corrupt", f"{path.name} is cut off: its header announces {entries:,} entries")
    check_allocation(max(rows, columns) * NODE_BYTES + entries * ENTRY_BYTES, path.name)
    return [_from_matrix(io.mmread(path), is_directed=symmetry != "symmetric")]


def _scipy_matrix(path: Path) -> Iterable[Network]:
    from scipy import sparse

    with open_arrays(path) as arrays:
        sides = [int(side) for side in np.asarray(arrays["shape"]).reshape(-1)]
    check_allocation(max(sides, default=0) * NODE_BYTES, path.name, "its shape")
    return [_from_matrix(sparse.load_npz(path), is_directed=True)]


def _from_matrix(matrix: Any, *, is_directed: bool) -> Network:
    """Entry (i, j) is an arc from i to j; a symmetric matrix is undirected."""
    from scipy import sparse

    table = sparse.coo_array(matrix)
    if table.shape[0] != table.shape[1]:
        raise ItemError("not_square", f"a matrix of {table.shape[0]} x {table.shape[1]} joins two sets of nodes")
    values = np.asarray(table.data)
    if values.dtype.kind == "c":
        raise ItemError("complex_values", "the matrix holds complex numbers")
    arcs = np.stack([np.asarray(table.row), np.asarray(table.col)]).astype(np.int64)
    if is_directed:
        is_directed = bool((abs(sparse.csr_array(table) - sparse.csr_array(table).T) > 0).nnz)
    plain = values.dtype.kind == "b" or bool((values == 1).all())
    weights = {} if plain else {"weight": values.astype(np.float64).tolist()}
    zeros = int((values == 0).sum())
    remarks = [f"{zeros:,} of {len(values):,} stored entries are 0: kept as edges of weight 0"] if zeros else []
    return Network([str(node) for node in range(table.shape[0])], arcs, is_directed, edges=weights, remarks=remarks)


def _sparse6(path: Path) -> Iterable[Network]:
    """A few bytes of sparse6 may announce billions of nodes."""
    from networkx.readwrite.graph6 import data_to_n

    for line in path.read_bytes().splitlines():
        body = line.strip().removeprefix(b">>sparse6<<").removeprefix(b":")
        if body:
            check_allocation(data_to_n([sign - 63 for sign in body])[0] * NODE_BYTES, path.name)
    return _networkx("read_sparse6")(path)


_READERS: Mapping[str, Callable[[Path], Iterable[Network]]] = {
    ".graphml": _graphml,
    ".gml": _gml,
    ".gexf": _gexf,
    ".sif": _text(read_sif),
    ".content": _text(read_linqs),
    KONECT: _text(read_konect),
    ".dot": lambda path: map(from_parts, read_dot(path)),
    ".gv": lambda path: map(from_parts, read_dot(path)),
    ".net": _networkx("read_pajek"),
    ".paj": _networkx("read_pajek"),
    ".json": _json,
    ".jsonl": _json_lines,
    ".g6": _networkx("read_graph6"),
    ".s6": _sparse6,
    ".mtx": _matrix_market,
    ".npz": _scipy_matrix,
}
