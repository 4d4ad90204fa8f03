"""Which texts are addresses of data elsewhere: ``s3://``, ``gs://``, ``hf://``, ``https://``, ``memory://``, ``file://``."""

from __future__ import annotations

import re
from pathlib import Path

SCHEMES = (
    "s3", "s3a", "gs", "gcs", "hf", "http", "https", "memory", "file", "abfs", "abfss", "az", "ftp", "sftp", "webdav",
    "oss", "hdfs",
)  # fmt: skip
_ADDRESS = re.compile(rf"({'|'.join(SCHEMES)}):/{{1,3}}(?=[^/\\])", re.IGNORECASE)


def is_address(data: str | Path) -> bool:
    """Whether data are given by an address; a ``Path`` keeps only one slash of it."""
    return _ADDRESS.match(str(data)) is not None


def whole_address(data: str | Path) -> str:
    """The address with both slashes."""
    scheme, _, rest = str(data).partition(":")
    return f"{scheme.lower()}://{'/' if scheme.lower() == 'file' else ''}{rest.lstrip('/')}"
