"""Settings of readers in the words of a command line: sentences name ``label_kind=class``, a user types a flag with it.

Readers write the setting alone; what is said of data and what is raised while data are opened goes through here once.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_SETTING = re.compile(r"(?<![\w.\-=|'\"])(?<!--read )([a-z][a-z0-9_]*)=(?=[^\s=])")


def with_flag(text: str, settings: Collection[str] | None = None) -> str:
    """A sentence in which every bare setting stands behind ``--read``, and how ``train`` takes the first.

    Args:
        text: such as ``label_kind=class|regression``; a setting that stands behind a flag or a dot is left as it is.
        settings: names that count; any word before an equals sign when None.
    """
    found = [one[1] for one in _SETTING.finditer(text) if settings is None or one[1] in settings]
    if not found:
        return text

    def flagged(one: re.Match[str]) -> str:
        return f"--read {one[0]}" if one[1] in found else one[0]

    in_train = "" if "dataset." in text else f" (with train: dataset.{found[0]}=...)"
    return _SETTING.sub(flagged, text) + in_train
