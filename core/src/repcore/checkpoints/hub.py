"""Model folders on the Hugging Face Hub: ``hf://owner/name@revision`` in, ``push_to_hub`` out.

The package ``huggingface_hub`` is an extra. Its settings are its own: ``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HOME`` (the
cache), ``HF_HUB_OFFLINE=1`` (use what the cache holds and never connect).
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repcore.errors import CheckpointError, ConfigError, PluginError, RepcoreError

SCHEME = re.compile(r"^hf:/{1,2}")  # pathlib makes one slash of two
NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
EXPECTED = "hf://owner/name or hf://owner/name@revision"
NEVER_READ = ["*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.py", "*.msgpack", "*.h5"]
LICENCES = {
    "apache-2.0": "apache-2.0", "mit": "mit", "bsd-3-clause": "bsd-3-clause", "bsd-2-clause": "bsd-2-clause",
    "gpl-3.0": "gpl-3.0", "agpl-3.0": "agpl-3.0", "lgpl-3.0": "lgpl-3.0", "cc-by-4.0": "cc-by-4.0",
    "cc-by-nc-4.0": "cc-by-nc-4.0", "cc-by-sa-4.0": "cc-by-sa-4.0", "cc0-1.0": "cc0-1.0",
}  # fmt: skip
"""Licences by the Hub's identifiers; other terms are ``other`` with their own words."""


@dataclass(frozen=True, slots=True)
class HubName:
    """A repository of the Hub at a branch, tag or commit; its main branch if None."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf://{self.repo}" + (f"@{self.revision}" if self.revision else "")


def is_hub_name(text: Path | str) -> bool:
    """Whether this is ``hf://...``."""
    return bool(SCHEME.match(str(text)))


def hub_name(text: Path | str) -> HubName:
    """``hf://owner/name@revision`` in its parts.

    Raises:
        CheckpointError: another form.
    """
    found = NAME.fullmatch(SCHEME.sub("", str(text)))
    if found is None:
        raise CheckpointError(f"{str(text)!r} names no model of the Hub", expected=EXPECTED)
    return HubName(found["repo"], found["revision"])


def fetched(text: Path | str) -> Path:
    """A model folder of the Hub in the local cache, downloaded where it is not there yet.

    Raises:
        CheckpointError: no such repository, revision or network. PluginError: ``huggingface_hub`` is not installed.
    """
    name, hub = hub_name(text), _hub()
    with _in_words(name):
        folder = hub.snapshot_download(
            name.repo, revision=name.revision, ignore_patterns=NEVER_READ, endpoint=os.environ.get("HF_ENDPOINT"),
            local_files_only=is_offline(), library_name="repcore",
        )  # fmt: skip
    return Path(folder)


def pushed(
    folder: Path,
    repo: str,
    card: Mapping[str, Any],
    *,
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
    message: str | None = None,
) -> str:
    """Upload a model folder, its README with the metadata that the Hub searches, and give the name to load it by.

    Args:
        card: metadata of the head of README.md, see :func:`card_metadata`.

    Raises:
        CheckpointError: refused, no network, or ``HF_HUB_OFFLINE`` is set. PluginError: ``huggingface_hub`` is missing.
    """
    name, hub = hub_name(repo if is_hub_name(repo) else f"hf://{repo}"), _hub()
    if is_offline():
        raise CheckpointError(f"HF_HUB_OFFLINE is set, so nothing is sent to {name}", hint="unset HF_HUB_OFFLINE")
    api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token, library_name="repcore")
    if revision and name.revision and revision != name.revision:
        raise ConfigError(f"revision={revision!r} contradicts {repo!r}", hint="leave one of them out")
    branch = revision or name.revision
    with tempfile.TemporaryDirectory() as holder, _in_words(name):
        copy = Path(holder) / "model"
        shutil.copytree(folder, copy)
        readme = copy / "README.md"
        text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
        readme.write_text(with_metadata(text, card), encoding="utf-8")
        api.create_repo(name.repo, private=private, exist_ok=True)
        if branch is not None:
            api.create_branch(name.repo, branch=branch, exist_ok=True)
        done = api.upload_folder(
            repo_id=name.repo, folder_path=copy, revision=branch, commit_message=message or "Model of repcore"
        )
    return str(HubName(name.repo, done.oid))


def card_metadata(encoder: str, *, licence: str, domain: str, predicts: str, identity: str) -> dict[str, Any]:
    """What the Hub filters by."""
    known = next((LICENCES[one] for one in LICENCES if licence.lower().startswith(one)), None)
    terms: dict[str, Any] = {"license": known} if known else {"license": "other"}
    if known is None:
        terms["license_name"] = licence.partition("\n")[0][:90] or "not recorded"
    return {
        "library_name": "repcore",
        "pipeline_tag": "feature-extraction",
        **terms,
        "tags": ["repcore", "self-supervised-learning", domain, encoder.rpartition("/")[2]],
        "repcore": {"encoder": encoder, "sha256": identity, **({"predicts": predicts} if predicts else {})},
    }


def with_metadata(readme: str, card: Mapping[str, Any]) -> str:
    """A README with this head, instead of the one that it may have."""
    import yaml

    body = re.sub(r"\A---\n.*?\n---\n+", "", readme, flags=re.DOTALL)
    return f"---\n{yaml.safe_dump(dict(card), sort_keys=False, allow_unicode=True)}---\n\n{body}"


def is_offline() -> bool:
    """Whether the user forbids connections, as ``huggingface_hub`` is told."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in ("1", "ON", "YES", "TRUE")


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise PluginError(
            "models of the Hub need huggingface_hub, which is not installed", hint='pip install "repcore[hub]"'
        ) from error
    return huggingface_hub


@contextmanager
def _in_words(name: HubName) -> Iterator[None]:
    """Inside, what the client raises becomes one error that names the model."""
    try:
        yield
    except RepcoreError:
        raise
    except Exception as error:
        kind = type(error).__name__
        cause = str(getattr(error, "__cause__", "") or "")
        if is_offline() or kind == "OfflineModeIsEnabled":
            raise CheckpointError(
                f"{name} is not in the cache, and HF_HUB_OFFLINE is set", hint="unset HF_HUB_OFFLINE, or copy the cache"
            ) from error
        if kind == "RevisionNotFoundError" or "RevisionNotFound" in cause:
            raise CheckpointError(f"{name}: there is no such revision", hint=f"hf://{name.repo}") from error
        if kind in ("RepositoryNotFoundError", "GatedRepoError"):
            raise CheckpointError(
                f"{name}: there is no such model, or it is private", hint="hf auth login, or set HF_TOKEN"
            ) from error
        raise CheckpointError(f"{name}: {kind}: {str(error).partition(chr(10))[0][:200]}") from error
