"""Which texts are addresses of data elsewhere: ``s3://``, ``gs://``, ``hf://``, ``https://``, ``memory://``, ``file://``."""

from __future__ import annotations

import re
from pathlib import Path

from repcore.credentials import held

SCHEMES = (
    "s3", "s3a", "gs", "gcs", "hf", "http", "https", "memory", "file", "local", "abfs", "abfss", "az", "ftp", "sftp",
    "webdav", "oss", "hdfs",
)  # fmt: skip
HERE = ("file", "local")
COMMON = "s3://, gs://, hf://, https://, abfs://, sftp://, ftp://, file://"
_ADDRESS = re.compile(rf"(?:(?:{'|'.join(SCHEMES)}):/{{1,3}}|[a-z][a-z0-9+.-]+:/{{2,3}})(?=[^/\\])", re.IGNORECASE)


def is_address(data: str | Path) -> bool:
    """Whether data are given by an address; a ``Path`` keeps only one slash of it. Kinds of addresses that nobody knows
    are addresses, too, and refused when they are opened."""
    return _ADDRESS.match(str(data)) is not None


def whole_address(data: str | Path) -> str:
    """The address with both slashes."""
    scheme, _, rest = str(data).partition(":")
    return f"{scheme.lower()}://{'/' if scheme.lower() in HERE else ''}{rest.lstrip('/')}"


def recorded_place(data: str | Path) -> str:
    """Where data lie, as runs record it: the address without its credentials, or the path."""
    return held(whole_address(data)) if is_address(data) else str(Path(data).expanduser())
