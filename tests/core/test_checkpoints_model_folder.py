"""Model folders: complete, exact, safe to replace, readable without the plugin, and clear about what is wrong."""

from __future__ import annotations

import copy
import functools
import gzip
import hashlib
import json
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from repcore.checkpoints.content import content_of_file, content_sha256, write_tensors
from repcore.checkpoints.model_folder import ModelFolder, read_model
from repcore.checkpoints.saving import record_content, save_model
from repcore.checkpoints.task_part import target_of
from repcore.errors import CheckpointError, ConfigError, DataError, PluginError, RepcoreError
from repcore.hooks import API_VERSION
from repcore.plugins import PluginRecord
from repcore.registry import Registry
from repcore.specs import EncoderSpec, PluginInfo, PreprocessorSpec


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    width: int = field(default=4, metadata={"help": "width"})
    shifts: tuple[int, ...] = field(default=(1, 2), metadata={"help": "something that JSON has no type for"})


class Network(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.dim = config.width
        self.words = nn.Embedding(7, config.width)
        self.decoder = nn.Linear(config.width, 7, bias=False)
        self.decoder.weight = self.words.weight
        self.register_buffer("turned", torch.randn(3, config.width).T)  # not contiguous


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    name_of_file: str = field(default="table.txt", metadata={"help": "file"})


class Table:
    def __init__(self, config: TableConfig, words: str = "a b c") -> None:
        self.config = config
        self.words = words

    def save(self, folder: Path) -> Mapping[str, Any]:
        (folder / self.config.name_of_file).write_text(self.words)
        return {"count": len(self.words.split())}

    @classmethod
    def load(cls, config: TableConfig, folder: Path) -> Table:
        return cls(config, (folder / config.name_of_file).read_text())


def registry_with(*names: str) -> Registry:
    specs = {
        "net": EncoderSpec(name="net", target=f"{__name__}:Network", config=f"{__name__}:NetworkConfig"),
        "table": PreprocessorSpec(name="table", target=f"{__name__}:Table", config=f"{__name__}:TableConfig"),
    }
    info = PluginInfo(title="Toy", domain="toy", api_version=API_VERSION)
    record = PluginRecord("toy", "x", distribution="repcore-toy", version="2.5", info=info)
    record.specs = [specs[name] for name in names]
    return Registry([record])


REGISTRY = registry_with("net", "table")


def save(folder: Path, network: Network | None = None, table: Table | None = None, **settings: Any) -> Path:
    return save_model(
        folder,
        encoder=network or Network(NetworkConfig()),
        encoder_name="toy/net",
        encoder_config=NetworkConfig(),
        preprocessor=table or Table(TableConfig()),
        preprocessor_name="toy/table",
        preprocessor_config=TableConfig(),
        **{
            "card": {
                "summary": "A toy.",
                "data": {"name": "toys.csv", "all_rows": 7, "files": {"a_b.csv": 1}},
                "steps": 5,
                "licence": "MIT",
            },
            "extra": {"run": {"seed": 1}},
            "registry": REGISTRY,
            **settings,
        },
    )


def test_round_trip_is_exact(tmp_path: Path) -> None:
    network = Network(NetworkConfig())
    folder = save(tmp_path / "model", network, Table(TableConfig(), "x y"))
    model = read_model(folder)
    encoder, table = model.build(REGISTRY)
    assert not encoder.training
    expected: dict[str, Tensor] = network.state_dict()
    assert encoder.state_dict().keys() == expected.keys()
    assert all(torch.equal(encoder.state_dict()[name], value) for name, value in expected.items())
    assert encoder.decoder.weight is encoder.words.weight
    assert table.words == "x y"
    assert (model.encoder_name, model.preprocessor_name, model.dim) == ("toy/net", "toy/table", 4)
    assert model.preprocessing["state"] == {"count": 2}
    assert model.card["steps"] == 5


def test_what_is_written(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", branch="teacher")
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "config.json", "preprocessing.json", "table.txt", "weights.safetensors",
    ]  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert config["encoder"] == {"name": "toy/net", "width": 4, "shifts": [1, 2]}
    assert config["tied"] == {"words.weight": "decoder.weight"}  # stored under the name that sorts first
    assert config["plugins"]["encoder"] == {"plugin": "toy", "distribution": "repcore-toy", "version": "2.5"}
    assert (config["format"], config["branch"], config["origin"]) == (1, "teacher", {"run": {"seed": 1}})
    assert set(load_file(folder / "weights.safetensors")) == {"decoder.weight", "turned"}
    assert not [path for path in tmp_path.iterdir() if path != folder]


def test_the_card_has_every_section(tmp_path: Path) -> None:
    text = (save(tmp_path / "model") / "README.md").read_text()
    for heading in ("What it is", "Data", "Training", "Diagnostics", "How to load", "Licence and notices", "Limits"):
        assert f"## {heading}\n" in text
    for fact in (
        "A toy.",
        "name: toys.csv",
        "all rows: 7",
        "a_b.csv: 1",
        "steps: 5",
        "MIT",
        "vectors of 4 numbers",
        "repcore-toy 2.5",
    ):
        assert fact in text
    assert "repcore.load(" in text
    diagnostics = text.split("## Diagnostics\n")[1].split("##")[0]
    assert "Not recorded." in diagnostics


def test_inspection_needs_no_plugin_and_building_names_it(tmp_path: Path) -> None:
    model = read_model(save(tmp_path / "model"))
    assert set(model.tensors()) == {"words.weight", "turned", "decoder.weight"}
    with pytest.raises(PluginError) as caught:
        model.build(Registry([]))
    for words in ("needs encoder toy/net", "repcore-toy 2.5", 'pip install "repcore[toy]"'):
        assert words in str(caught.value)
    with pytest.raises(PluginError, match=r"needs preprocessor toy/table"):
        model.build(registry_with("net"))


def test_a_third_party_plugin_is_named_by_its_own_distribution(tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["plugins"]["encoder"] = {"plugin": "t", "distribution": "sleep-models", "version": "0.4"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(PluginError, match=r'pip install "sleep-models==0.4"'):
        read_model(folder).build(Registry([]))


def test_another_size_is_refused_with_names(tmp_path: Path) -> None:
    model = read_model(save(tmp_path / "model"))
    with pytest.raises(CheckpointError, match=r"do not fit[\s\S]*words.weight \(7, 4\) for \(7, 6\)"):
        model.load_into(Network(NetworkConfig(width=6)))
    with pytest.raises(
        CheckpointError, match=r"unexpected: decoder.weight, turned, words[\s\S]*missing: +weight, bias"
    ):
        model.load_into(nn.Linear(2, 2))


def test_replacing_is_atomic(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", table=Table(TableConfig(), "old"))

    class Breaks(Table):
        def save(self, folder: Path) -> Mapping[str, Any]:
            super().save(folder)
            raise OSError("disk full")

    with pytest.raises(OSError, match=r"disk full"):
        save(folder, table=Breaks(TableConfig(), "new"))
    assert read_model(folder).build(REGISTRY)[1].words == "old"
    save(folder, table=Table(TableConfig(), "new"))
    assert read_model(folder).build(REGISTRY)[1].words == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_with_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match=r"is not a model folder"):
        save(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_a_preprocessor_cannot_overwrite_our_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"wrote config.json"):
        save(tmp_path / "model", table=Table(TableConfig(name_of_file="config.json")))


def test_altered_or_missing_files_are_noticed(tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    (folder / "table.txt").write_text("z")
    with pytest.raises(CheckpointError, match=r"table.txt is not the file"):
        read_model(folder).build(REGISTRY)
    (folder / "table.txt").unlink()
    with pytest.raises(CheckpointError, match=r"lacks table.txt"):
        read_model(folder).build(REGISTRY)
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match=r"damaged or cut off"):
        read_model(folder).tensors()
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"has no weights.safetensors"):
        read_model(folder).tensors()


def test_folders_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is not a model folder[\s\S]*repcore import"):
        read_model(tmp_path)
    with pytest.raises(CheckpointError, match=r"does not exist"):
        read_model(tmp_path / "x")
    folder = save(tmp_path / "run" / "model")
    assert read_model(tmp_path / "run").folder == folder  # a run folder leads to its model
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "format": 2}))
    with pytest.raises(CheckpointError, match=r"format 2"):
        read_model(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"cannot be read as JSON"):
        read_model(folder)


def test_a_twin_with_fresh_weights(tmp_path: Path) -> None:
    model = read_model(save(tmp_path / "model"))
    twin = model.build_encoder(REGISTRY)
    assert not torch.equal(twin.state_dict()["words.weight"], model.tensors()["words.weight"])


class Turned(Network):
    """The same network, its parts named in the other order."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self._modules["words"] = self._modules.pop("words")  # behind the decoder now


def test_a_tied_tensor_has_one_name_in_whatever_order_the_network_was_made(tmp_path: Path) -> None:
    network, turned = Network(NetworkConfig()), Turned(NetworkConfig())
    turned.load_state_dict(network.state_dict())
    assert list(network.state_dict()) != list(turned.state_dict())
    folders = [save(tmp_path / "one", network), save(tmp_path / "other", turned)]
    files = [(folder / "weights.safetensors").read_bytes() for folder in folders]
    assert files[0] == files[1]
    assert len({read_model(folder).identity() for folder in folders}) == 1


def test_folders_with_the_earlier_choice_of_a_name_are_read(tmp_path: Path) -> None:
    network = Network(NetworkConfig())
    folder = save(tmp_path / "model", network)
    tensors = load_file(folder / "weights.safetensors")
    tensors["words.weight"] = tensors.pop("decoder.weight")
    write_tensors(folder / "weights.safetensors", tensors, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config |= {"tied": {"decoder.weight": "words.weight"}, "content": {"weights.safetensors": content_sha256(tensors)}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.warns(UserWarning, match="no hash of its settings"):
        encoder, _ = read_model(folder).build(REGISTRY)
    assert torch.equal(encoder.decoder.weight, network.words.weight)
    assert encoder.decoder.weight is encoder.words.weight


class Arrays(Table):
    """Saves arrays in a container, whose members carry the time of writing."""

    year = 2001

    def save(self, folder: Path) -> Mapping[str, Any]:
        with zipfile.ZipFile(folder / "arrays.npz", "w") as file:
            for name in sorted(("mean", "scale"), reverse=self.year > 2001):
                with file.open(zipfile.ZipInfo(f"{name}.npy", (self.year, 1, 1, 0, 0, 0)), "w") as member:
                    np.save(member, np.full(3, len(self.words) + len(name)))
        return {}


def test_files_of_a_preprocessor_are_known_by_what_they_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(NetworkConfig())
    folders = [save(tmp_path / "one", network, Arrays(TableConfig()))]
    monkeypatch.setattr(Arrays, "year", 2024)
    folders.append(save(tmp_path / "later", network, Arrays(TableConfig())))
    written = [(folder / "arrays.npz").read_bytes() for folder in folders]
    assert written[0] != written[1]
    assert len({read_model(folder).identity() for folder in folders}) == 1
    other = save(tmp_path / "other", network, Arrays(TableConfig(), "d e"))
    assert read_model(other).identity() != read_model(folders[0]).identity()
    (folders[0] / "arrays.npz").write_bytes(written[1])  # the bytes are still compared when it is used
    with pytest.raises(CheckpointError, match="is not the file that the model was saved with"):
        read_model(folders[0]).build_preprocessor(REGISTRY)


def test_the_identity_of_models_without_containers_is_as_it_was(tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    preprocessing = json.loads((folder / "preprocessing.json").read_text())
    assert set(preprocessing) == {"format", "state", "files"}
    parts = [content_sha256(load_file(folder / "weights.safetensors"))]
    facts = [config["encoder"], config["preprocessor"], preprocessing, None, config["tied"]]
    expected = hashlib.sha256(json.dumps([parts, facts], sort_keys=True).encode()).hexdigest()
    assert read_model(folder).identity() == expected


def test_content_of_files_looks_through_containers(tmp_path: Path) -> None:
    def content(name: str, data: bytes) -> str:
        (tmp_path / name).write_bytes(data)
        return content_of_file(tmp_path / name)

    plain = hashlib.sha256(b"words").hexdigest()
    assert content("a.txt", b"words") == plain
    packed = ((1, 1), (9, 9))
    assert {content(f"{time}.gz", gzip.compress(b"words", level, mtime=time)) for time, level in packed} == {plain}
    header = [{"__metadata__": {"a": "1", "b": "2"}}, {"__metadata__": {"b": "2", "a": "1"}}]
    texts = [json.dumps(one).encode() for one in header]
    made = [content(f"{n}.safetensors", len(one).to_bytes(8, "little") + one + b"rest") for n, one in enumerate(texts)]
    assert made[0] == made[1] != content("2.safetensors", len(texts[0]).to_bytes(8, "little") + texts[0] + b"rust")


def test_names_cannot_be_mistaken_for_tensors() -> None:
    one, none = torch.ones(1, dtype=torch.uint8), torch.zeros(0, dtype=torch.uint8)
    assert content_sha256({"a": none, "b": one}) != content_sha256({"a\0uint8\0(0,)\0b": one})
    assert content_sha256({"b": one}) == hashlib.sha256(b"b\0uint8\0(1,)\0\x01").hexdigest()  # as it always was


OTHERS: tuple[Any, ...] = ([1], ["x"], {"x": 1}, {}, "x", "../x", -1, 0.5, 10**40, True, None)


def places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in nested JSON, the outermost first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*before, key)
        yield from places(one, (*before, key))


def replaced(value: Any, place: tuple[Any, ...], other: Any) -> Any:
    changed = copy.deepcopy(value)
    inner = functools.reduce(lambda held, key: held[key], place[:-1], changed)
    inner[place[-1]] = other
    return changed


@pytest.mark.parametrize("name", ["config.json", "preprocessing.json"])
def test_values_of_any_kind_are_named_and_reach_no_code(name: str, tmp_path: Path) -> None:
    """``"tied": [1]`` was an AttributeError from deep inside."""
    target = {"name": "y", "kind": "class", "level": "item", "names": ["a", "b"], "unit": "", "ignore": 1, "ids": [0]}
    task = {"name": "toy/t", "settings": {}, "target": target, "facts": {"members": 0, "thresholds": [0.5]}}
    folder = save(tmp_path / "model")
    content = json.loads((folder / name).read_text())
    if name == "config.json":
        content |= {"task": task, "changes": [{"name": "toy/c"}]}
    refused = 0
    for place in places(content):
        for other in OTHERS:
            (folder / name).write_text(json.dumps(replaced(content, place, other)))
            try:
                model = read_model(folder)
                assert isinstance(model.card, dict)
                assert isinstance(model.dim, int)
                assert model.as_origin()
                model.identity()
                model.build_preprocessor(REGISTRY)
                model.load_into(Network(NetworkConfig()))
                target_of(model.task or task)
                model.change_parts(REGISTRY)
                model.build_encoder(REGISTRY)
            except (CheckpointError, ConfigError, DataError, PluginError):
                refused += 1
            except RepcoreError as error:
                raise AssertionError(f"{place}: {other!r}") from error
    assert refused > 100 if name == "config.json" else refused > 20


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("config.json", {"tied": [1]}, r"config.json: tied is \[1\]"),
        ("config.json", {"branch": "../x"}, r"branch is '../x'"),
        ("config.json", {"dim": True}, "dim is True"),
        ("config.json", {"content": {}}, r"no hash of weights.safetensors"),
        ("config.json", {"content": {"/etc/x": "0"}}, r"content.* is '/etc/x'"),
        ("config.json", {"encoder": {"width": 4}}, r"lacks encoder.name"),
        ("preprocessing.json", {"files": {"../../x": "0"}}, r"files.* is '../../x'"),
        ("preprocessing.json", {"files": {"C:\\x": "0"}}, r"files.* is 'C:"),
        ("preprocessing.json", {"files": None}, "files is None"),
        ("preprocessing.json", {"state": 1}, "state is 1"),
    ],
)
def test_what_is_wrong_in_a_folder_is_named(file: str, change: dict[str, Any], words: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**content, **change}))
    with pytest.raises(CheckpointError, match=words):
        read_model(folder).build(REGISTRY)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("config.json", {"encoder": {"name": "toy/net", "width": 4, "shifts": [2, 1]}}, "encoder settings"),
        ("config.json", {"preprocessor": {"name": "toy/table", "size": 3}}, "preprocessor settings"),
        ("config.json", {"changes": [{"name": "toy/net"}]}, "changes of the encoder"),
        ("config.json", {"tied": {}}, "names of tied tensors"),
        ("config.json", {"task": {"name": "toy/x", "target": {"name": "y", "kind": "class"}}}, "task"),
        ("preprocessing.json", {"state": {"mean": 1.0}}, "state of the preprocessor"),
    ],
)
def test_what_changes_answers_is_known_by_its_hash(
    file: str, change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """A changed number of heads keeps every shape, and gives other vectors."""
    folder = save(tmp_path / "model")
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content, sort_keys=True))  # another layout is the same
    read_model(folder).build(REGISTRY)
    (folder / file).write_text(json.dumps({**content, **change}))
    for look in (ModelFolder.identity, lambda model: (model.tensors(), model.preprocessing)):
        with pytest.raises(CheckpointError, match=f"{file} was changed since the model was saved: {words}"):
            look(read_model(folder))


def test_a_folder_without_hashes_of_settings_is_read_and_told_of(tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    whole = json.loads((folder / "config.json").read_text())
    older = {**whole, "content": {"weights.safetensors": whole["content"]["weights.safetensors"]}}
    (folder / "config.json").write_text(json.dumps(older))
    with pytest.warns(UserWarning, match=r"config.json holds no hash of its settings"):
        first, _ = read_model(folder).build(REGISTRY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        record_content(folder)
    assert json.loads((folder / "config.json").read_text()) == whole
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second, _ = read_model(folder).build(REGISTRY)
    assert torch.equal(first.words.weight, second.words.weight)


def test_hashes_that_were_taken_out_are_missed(tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    del config["content"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.warns(UserWarning, match="holds no hash of the tensors"):
        read_model(folder).build(REGISTRY)
    preprocessing = json.loads((folder / "preprocessing.json").read_text())
    del preprocessing["files"]
    (folder / "preprocessing.json").write_text(json.dumps(preprocessing))
    with pytest.raises(CheckpointError, match=r"preprocessing.json lacks files"):
        read_model(folder).build_preprocessor(REGISTRY)
