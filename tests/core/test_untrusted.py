"""Text, pictures and files of others are data: nothing of them runs, moves the cursor, or becomes a command."""

from __future__ import annotations

import ast
import io
import json
import logging
import os
import pickle
import re
import struct
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import repcore
from repcore.checkpoints.model_card import model_card
from repcore.checkpoints.model_folder import read_model
from repcore.checkpoints.reading import read_checkpoint
from repcore.cli import console
from repcore.cli.ending import make_warnings_printable
from repcore.cli.main import run
from repcore.config.yaml import load_file, parse_override
from repcore.errors import CheckpointError, ConfigError, PluginError, RepcoreError
from repcore.markup import safe_markup
from repcore.report.build import build_report
from repcore.report.styles import Styles, declarations
from repcore.reporting import LogReporter, PrintedReporter
from repcore.untrusted import link_or_text, markdown, pip_install, printable
from tests.conftest import ROOT
from tests.toys.toy_run import make_run

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202etxt.exe\udcff\r"


def test_control_characters_never_reach_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.say(f"file {ESCAPES}")
    console.complain(f"file {ESCAPES}")
    console.table(["a" + ESCAPES], [[f"cell {ESCAPES}"]])
    reporter = console.ConsoleReporter()
    reporter.warn(ESCAPES)
    assert run(["show", f"no-such{ESCAPES}"]) == 2
    assert run([f"--no{ESCAPES}"]) == 2
    told = capsys.readouterr()
    for text in (told.out, told.err):
        assert not set("\x1b\x07\x9b\u202e\udcff\r") & set(text)
        assert "\\x1b" in text
    assert printable("tab\tand\nline, ümlaut, 分子") == "tab\tand\nline, ümlaut, 分子"
    assert printable("\udcff") == "\\xff"


PRINTERS = {"console.py", "reporting.py", "plugins.py", "__main__.py"}  # through printable(), or a fixed text


def test_nothing_else_prints() -> None:
    """A plugin's command that prints by itself would send a file's name to the terminal as it is."""
    found = []
    for path in sorted([*(ROOT / "core" / "src").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write", "rprint"):
                    found.append((path.name, called))
    assert {name for name, _ in found} <= PRINTERS, found


def test_reporters_of_python_and_traces_show_codes(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    PrintedReporter().warn(f"file {ESCAPES}")
    PrintedReporter().progress(f"file {ESCAPES}", 1, 1)
    with caplog.at_level("INFO"):
        LogReporter().warn(f"100% of {ESCAPES}")
        LogReporter().info(f"100% of {ESCAPES}")
    for text in (capsys.readouterr().err, caplog.text):
        assert not set("\x1b\x07\x9b\u202e\udcff\r") & set(text)
        assert text.count("\\x1b") == 4


def test_a_stream_that_knows_few_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    console.say("Ångström")
    assert raw.getvalue() == b"\\xc5ngstr\\xf6m\n"


def test_a_closed_terminal_ends_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            tried.append(text)
            raise BrokenPipeError(32, "Broken pipe")

    closed = Closed()
    monkeypatch.setattr("sys.stderr", closed)
    console.complain("lost")
    console.complain("lost, too")
    assert tried == ["lost\n"], "the closed stream was tried once, then let alone"
    assert sys.stderr is not closed
    assert (sys.stderr.name, sys.stderr.closed) == (os.devnull, False)
    sys.stderr.close()


@pytest.mark.parametrize("name", ["x$(touch hacked)", 'x"; rm -rf ~; "', "x --index-url=http://evil", "-r", "", "a b"])
def test_received_names_become_no_command(name: str) -> None:
    assert pip_install(name) == ""
    assert pip_install("sleep-models", f"1.0{name}") in (
        "",
        'pip install "sleep-models==1.0"',
        'pip install "sleep-models==1.0-r"',
    )


def test_hints_of_a_received_config(toys: None, tmp_path: Path) -> None:
    make_run(tmp_path / "r")
    path = tmp_path / "r" / "model" / "config.json"
    config = json.loads(path.read_text())
    config["encoder"]["name"] = "zzz$(touch hacked)/net"
    config["plugins"] = {"encoder": {"distribution": 'x"$(touch hacked)"', "version": "1"}}
    path.write_text(json.dumps(config))
    with pytest.raises(PluginError) as told:
        read_model(path.parent).build()
    assert "pip install" not in str(told.value)


def test_model_cards_escape_everything() -> None:
    hostile = "<script>alert(1)</script> [x](javascript:y) ![i](http://evil/a.png)\n# heading\n| a | b |"
    text = model_card(hostile, card={"data": {hostile: hostile}, "summary": hostile, "paper": hostile,
                                     "licence": hostile, "limits": [hostile], "recipe": hostile},
                      dim=3, parameters=5, requirements=["repcore 1"])  # fmt: skip
    assert "<script" not in text
    assert "](" not in text.replace("\\](", "")
    assert "http://evil" not in text
    assert "\n# heading" not in text
    assert link_or_text("https://arxiv.org/abs/2305.01523") == "<https://arxiv.org/abs/2305.01523>"
    assert (markdown("a_b"), markdown("_b_")) == ("a_b", "\\_b\\_")


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '<img src="https://evil/x.png">',
        '<svg onload="alert(1)"><rect/></svg>', '<svg><script>alert(1)</script></svg>',
        '<svg><foreignObject><iframe src="x"></iframe></foreignObject></svg>',
        '<a href="javascript:alert(1)">x</a>', '<svg><use href="https://evil/x.svg#a"/></svg>',
        '<div style="background:url(https://evil/x)">x</div>', "<style>@import 'https://evil'</style>",
        '<svg><animate attributeName="href" to="javascript:alert(1)"/></svg>', "<meta http-equiv=refresh content=0>",
        '<img src="data:image/svg+xml;base64,AAAA">', "<iframe srcdoc='x'></iframe>", "<form action=x><input></form>",
        "<div><template><script>alert(1)</script></template>", "<scr<script>ipt>alert(1)</scr</script>ipt>",
        '<p style="x:\\75rl(https://evil)">', "<!--><script>alert(1)</script>-->", "<svg><style>*{}</style></svg>",
    ],
)  # fmt: skip
def test_pictures_of_a_shared_run_are_cut_down(hostile: str) -> None:
    made = safe_markup(f"<p>before</p>{hostile}<p>after</p>").lower()
    for word in ("<script", "onerror", "onload", "evil", "javascript:", "<iframe", "<style", "<meta", "<form", "<a "):
        assert word not in made
    assert "before" in made


def test_pictures_keep_what_renderers_draw() -> None:
    drawn = (
        '<div style="display:flex"><svg viewBox="0 0 3 4" width="30"><clipPath id="a"><rect x="1"></rect></clipPath>'
        '<path d="M0 0L1 1" stroke="#f00" clip-path="url(#a)"></path></svg>'
        '<img alt="x" src="data:image/png;base64,AAAA"></div>'
    )
    assert safe_markup(drawn) == drawn


def test_the_report_lets_only_its_own_scripts_run(toys: None, tmp_path: Path) -> None:
    make_run(tmp_path / "r")
    line = {"id": "7", "html": "<b>drawn</b><script>alert(1)</script><img src=x onerror=alert(2)>", "alt": "x"}
    (tmp_path / "r" / "pictures.jsonl").write_text(json.dumps(line) + "\n")
    text = build_report(tmp_path / "r").read_text()
    policy = text.split('Content-Security-Policy" content="')[1].split('"')[0]
    script = next(part for part in policy.split(";") if part.strip().startswith("script-src"))
    assert "unsafe-inline" not in script
    nonce = script.split("'nonce-")[1].split("'")[0]
    assert len(nonce) >= 20
    assert text.count(f'nonce="{nonce}"') >= 2
    assert f"style-src 'nonce-{nonce}';" in policy
    assert "unsafe-inline" not in policy
    assert not re.search(r"<[a-z][^<>]*\sstyle=", text.split("<body>")[1].split("<script")[0])
    assert "<script>" not in text.replace('<script>"', "")
    assert "<b>drawn</b>" in text
    assert "alert(1)" not in text


# ------------------------------------------------------------------------------------------------ files


def archive(path: Path, members: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def test_valid_safetensors_of_every_header_length_are_read(tmp_path: Path) -> None:
    """15,392 is 0x3C20: its first bytes read `` <``, as those of a web page do."""
    for wanted in (15392, 0x5020, 0x0A3C):
        header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode().ljust(wanted)
        (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", wanted) + header + bytes(8))
        assert read_checkpoint(tmp_path / "m.safetensors").state["a"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("kind", ["bomb", "pickle-bomb", "lying", "huge-header", "cut-header", "page", "no-weights"])
def test_hostile_files_are_clear_errors(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    if kind == "bomb":
        archive(path, {"m/data.pkl": b"\x80\x02}.", "m/data/0": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    elif kind == "pickle-bomb":
        archive(path, {"m/data.pkl": b"\x80\x02" + b"]" * 50_000_000 + b"."}, zipfile.ZIP_DEFLATED)
    elif kind == "lying":
        content = bytearray(archive(path, {"m/data.pkl": b"\x80\x02}.", "m/data/0": bytes(64)}).read_bytes())
        place = content.rindex(b"PK\x01\x02") + 20  # sizes in the central directory
        content[place : place + 8] = struct.pack("<II", 2**31, 2**31)
        path.write_bytes(content)
    elif kind == "huge-header":
        path.write_bytes(struct.pack("<Q", 2**40) + b"{" + bytes(100))
    elif kind == "cut-header":
        path.write_bytes(struct.pack("<Q", 500) + b"{" + bytes(100))
    elif kind == "page":
        path.write_bytes(b"\n <!DOCTYPE html><html>404</html>")
    else:
        archive(path, {"readme.txt": b"hello"})
    with pytest.raises(CheckpointError) as told:
        read_checkpoint(path)
    assert str(path) in str(told.value)
    assert "weights_only" not in str(told.value)


def test_a_tensor_cannot_claim_more_than_is_stored(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1).expand(1 << 40)}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="only 4 are stored"):
        read_checkpoint(tmp_path / "m.pt")


def test_torch_s_advice_to_load_without_restrictions_is_not_repeated(tmp_path: Path) -> None:
    class Odd:
        def __reduce__(self) -> tuple[object, ...]:
            return (torch.tensor, ([1.0],))

    torch.save({"a": Odd(), "b": torch.ones(1)}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError) as told:
        read_checkpoint(tmp_path / "m.pt")
    assert "weights_only" not in str(told.value)
    (tmp_path / "p.pt").write_bytes(pickle.dumps({"a": [1, 2]}, protocol=2))
    with pytest.raises(CheckpointError) as told:
        read_checkpoint(tmp_path / "p.pt")
    assert "weights_only" not in str(told.value)


@pytest.mark.parametrize(
    "index",
    ['{"weight_map": 3}', '{"weight_map": {"a": 5}}', "[]", '{"weight_map": {"a": "../../etc/passwd"}}',
     "[" * 100_000, '{"weight_map": {"b": "one.safetensors"}}'],
)  # fmt: skip
def test_lying_shard_indexes(index: str, tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "one.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path)


def test_settings_of_any_depth_and_length(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    for text in ("[" * 50_000, "a: " * 20_000, bomb, "a: &x [*x]", "!!python/object:os.system {}"):
        path.write_text(text)
        with pytest.raises(ConfigError):
            load_file(path)
    assert run(["show", "molecules/selformer", f"trainer.steps={'9' * 5000}"]) == 2
    assert parse_override("a=" + "9" * 5000)[0] == "a"


def test_deep_json_of_a_model_folder(tmp_path: Path) -> None:
    for name in ("config.json", "preprocessing.json"):
        (tmp_path / name).write_text("[" * 200_000)
    with pytest.raises(RepcoreError, match="nested too deeply"):
        read_model(tmp_path)


def test_styles_of_pictures_become_rules_of_the_page() -> None:
    styles = Styles("n0")
    made = styles.classed(
        '<div class="a" style="width:100%"><svg style=\'fill:none;stroke:#f00\'/>'
        '<script>x="<i style=\\"color:red\\">"</script><style>.b{}</style><p style="width:100%">style="x"</p></div>'
    )
    assert made == (
        '<div class="a st0"><svg class="st1"/>'
        '<script>x="<i style=\\"color:red\\">"</script><style nonce="n0">.b{}</style><p class="st0">style="x"</p></div>'
    )
    assert styles.sheet.splitlines() == [".st0.st0.st0{width:100%}", ".st1.st1.st1{fill:none;stroke:#f00}"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("grid-template-columns:repeat(auto-fill,minmax(90px,1fr));gap:.25rem",
         "grid-template-columns:repeat(auto-fill,minmax(90px,1fr));gap:.25rem"),
        ("clip-path:url(#a); color : red ;", "clip-path:url(#a);color:red"),
        ('background:url("data:image/png;base64,AA==")', 'background:url("data:image/png;base64,AA==")'),
        ("color:red}body{display:none", ""), ("a:b(;color:red", "color:red"), ("font:'x;color:red", "color:red"),
        ("color:red;x:</style><script>", "color:red"), ("a:/*;color:red", "color:red"), ("@import 'x'", ""), ("", ""),
    ],
)  # fmt: skip
def test_a_style_cannot_leave_its_rule(given: str, kept: str) -> None:
    assert declarations(given) == kept


def test_images_inside_drawings_are_kept_in_a_shared_run() -> None:
    inside = '<svg viewBox="0 0 1 1"><image href="data:image/jpeg;base64,AAAA" width="1"></image></svg>'
    assert 'href="data:image/jpeg;base64,AAAA"' in safe_markup(inside)
    assert "evil" not in safe_markup('<svg><image href="https://evil/a.png" xlink:href="file:///evil"/></svg>')
    assert "svg+xml" not in safe_markup('<svg><image href="data:image/svg+xml;base64,AAAA"/></svg>')


def test_warnings_of_libraries_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """numpy, PIL, pandas: none of them speaks to the user in its own words without ours around them."""
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # put back afterwards
    make_warnings_printable()
    ours, theirs = str(Path(repcore.__file__)), "/site-packages/PIL/Image.py"
    peak = np.full(3, 3e38, np.float32)
    with pytest.warns(RuntimeWarning, match="overflow") as caught:
        assert np.isinf([peak - -peak, peak * peak]).all()
    told = [warnings.formatwarning(one.message, one.category, ours, 1) for one in caught]  # also from our own lines
    assert told[0].startswith("note: an item holds numbers that calculations cannot hold")
    assert told[1:] == [""]  # said once
    for category, filename, text, words in (
        (UserWarning, ours, "no hash of a\x1b[2J", "warning: no hash of a\\x1b[2J\n"),
        (RuntimeWarning, theirs, "Image size\nexceeds",
         "note: a library that is used here says: Image size exceeds (RuntimeWarning)\n"),
        (FutureWarning, theirs, "will change", "note: a library that is used here says: will change (FutureWarning)\n"),
        (UserWarning, theirs, "odd", "note: a library that is used here says: odd (UserWarning)\n"),
    ):  # fmt: skip
        assert warnings.formatwarning(text, category, filename, 1) == words


@pytest.mark.parametrize("tracebacks", [False, True])
def test_an_error_in_a_warning_is_one_line_of_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tracebacks: bool
) -> None:
    logger = logging.getLogger("repcore.tests.warning")
    monkeypatch.setattr(logger, "propagate", False)  # as outside of tests: only the last resort shows it
    make_warnings_printable(tracebacks=tracebacks)
    try:
        raise ValueError("no\x1b[2J ink\nleft")
    except ValueError:
        logger.warning("item %s cannot be drawn", "a\x1b7", exc_info=True)
    told = capsys.readouterr().err
    assert "\x1b" not in told
    assert ("Traceback" in told) is tracebacks
    assert tracebacks or len(told.splitlines()) == 1
    assert "ValueError: no" in told
    make_warnings_printable()
