"""Networks of a few bytes that announce billions of nodes or entries are refused before anything is made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from networkx.readwrite.graph6 import n_to_data
from scipy import sparse

from repcore.errors import ItemError
from repcore_graphs.formats.networks import read_networks

HEAD = "%%MatrixMarket matrix coordinate real general\n"


def test_announced_entries_and_sizes(tmp_path: Path) -> None:
    files = {
        "entries.mtx": (HEAD + "5 5 99999999999\n1 2 1\n").encode(),
        "nodes.mtx": (HEAD + "99999999999 99999999999 1\n1 2 1\n").encode(),
        "nodes.s6": b":" + bytes(number + 63 for number in n_to_data(2**35)) + b"\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    sparse.save_npz(tmp_path / "nodes.npz", sparse.coo_array((np.ones(1), ([0], [1])), shape=(2**40, 2**40)))
    for name, status in (
        ("entries.mtx", "corrupt"),
        *((one, "too_large") for one in ("nodes.mtx", "nodes.s6", "nodes.npz")),
    ):
        with pytest.raises(ItemError) as raised:
            list(read_networks(tmp_path / name))
        assert raised.value.status == status, name


def test_good_ones_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.mtx").write_text(HEAD + "3 3 2\n1 2 1\n2 3 1\n")
    (network,) = read_networks(tmp_path / "a.mtx")
    assert network.arcs.tolist() == [[0, 1], [1, 2]]
    (tmp_path / "a.s6").write_bytes(b":Fa@x^\n")  # the example of the format's description: 7 nodes
    (network,) = read_networks(tmp_path / "a.s6")
    assert len(network.names) == 7
