"""File systems of addresses (fsspec), and what their failures mean: tried again, or an error that says what is wrong.

Each file system has errors of its own, and some hide one behind another (a refused connection behind "not found"). So
what is looked at is the whole chain: a status of HTTP that any of them carries says most, then their kinds.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

import fsspec
from fsspec.registry import known_implementations

from repcore.credentials import HIDDEN, in_full
from repcore.data.shards.addresses import COMMON
from repcore.errors import DataError, PluginError, RepcoreError, errors_behind

T = TypeVar("T")
TRIES = 5
FIRST_WAIT = 0.5  # seconds before the second try; doubled each time
PATIENCE = 60.0  # seconds after which no further try begins: some packages try again themselves, for half a minute
EXTRA = "remote"
FORBIDDEN = (401, 403, 407)
GONE = (404, 410)
AGAIN = (408, 421, 425, 429)  # of the statuses below 500 those that another try may change
ABSENT = (FileNotFoundError, LookupError)  # behind "not found": it has been looked for, and was not there
USELESS = (ValueError, TypeError, AttributeError, NotImplementedError, IsADirectoryError, NotADirectoryError)
_NO_RIGHTS = re.compile(r"Credential|ClientAuthentication|^Forbidden")  # in names of errors, and as gcsfs words it


def file_system(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it.

    Raises:
        PluginError: its package is missing; names the command that installs it. DataError: it cannot be understood, or
            was recorded without its credentials.
    """
    full, scheme = in_full(address), address.partition(":")[0]
    if full is None:
        raise DataError(
            f"{address} was written down without its credentials ({HIDDEN})",
            hint="give the whole address again (--data ADDRESS)",
        )
    if scheme not in known_implementations and scheme not in fsspec.available_protocols():
        raise DataError(f"{address}: addresses of the kind {scheme}:// are not known", commonly_used=COMMON)
    try:
        system, root = fsspec.core.url_to_fs(full)
    except ImportError as error:
        raise _package_missing(address, error) from error
    except Exception as error:  # whatever a file system raises while it is set up
        raise refusal(address, error) or DataError(f"{address!r} cannot be opened: {_words(error)}") from error
    return system, root


def tried(what: str, action: Callable[[], T]) -> T:
    """Do something with a connection, again after a while where it fails.

    Args:
        what: address of what is read, for messages.

    Raises:
        DataError: it is not there, may not be read, or still fails at the last try. PluginError: a package is missing.
    """
    wait, begun = FIRST_WAIT, time.monotonic()
    for number in range(1, TRIES + 1):
        try:
            return action()
        except RepcoreError:
            raise
        except Exception as error:  # each file system has errors of its own
            if refused := refusal(what, error):
                raise refused from error
            if number == TRIES or (number > 1 and time.monotonic() - begun > PATIENCE):
                raise DataError(f"{what} cannot be reached: {_words(error)}", tried=f"{number} times") from error
            time.sleep(wait)
            wait *= 2
    raise AssertionError


def refusal(what: str, error: BaseException) -> RepcoreError | None:
    """What an error means that another try would not change; None where it might."""
    if isinstance(error, ImportError):
        return _package_missing(what, error)
    chain = _behind(error)
    status = next(filter(None, map(_status, chain)), 0)
    if status in FORBIDDEN or (not status and any(map(_is_forbidden, chain))):
        answer = f" (status {status})" if status else ""
        hint = "credentials are taken from the environment"
        return DataError(f"{what} may not be read{answer}: {_words(error)}", hint=hint)
    if status in GONE:
        return DataError(f"{what} does not exist")
    if status:
        is_final = status < 500 and status not in AGAIN
        return DataError(f"{what} cannot be read (status {status}): {_words(error)}") if is_final else None
    if isinstance(error, FileNotFoundError):
        return DataError(f"{what} does not exist") if all(isinstance(one, ABSENT) for one in chain) else None
    is_final = isinstance(error, USELESS) and not isinstance(error, json.JSONDecodeError)
    return DataError(f"{what} cannot be read: {_words(error)}") if is_final else None


def _behind(error: BaseException) -> list[BaseException]:
    """An error and its causes; what was at work when something was not found is no reason for it."""
    if not isinstance(error, FileNotFoundError):
        return list(errors_behind(error))
    return [error, *(errors_behind(error.__cause__) if error.__cause__ else ())]


def _status(error: BaseException) -> int:
    """The status of HTTP that an error carries, 0 for none: of aiohttp, httpx and requests, botocore, Google, Azure."""
    if type(error).__module__ == "aiohttp.http_exceptions":  # which calls half an answer a 400 of its own
        return 0
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):
        answer = answer.get("ResponseMetadata") or {}
        found = answer.get("HTTPStatusCode")
    else:
        names = ("status", "status_code", "code")
        found = next((getattr(one, name, None) for one in (answer, error) for name in names if hasattr(one, name)), 0)
    text = str(getattr(found, "value", found))
    return int(text) if text.isdigit() and 300 <= int(text) < 600 else 0


def _is_forbidden(error: BaseException) -> bool:
    if isinstance(error, PermissionError):
        return True
    return any(_NO_RIGHTS.search(text) for text in (type(error).__name__, str(error)[:10]))


def _words(error: BaseException) -> str:
    """Kind and text of an error, of its cause where it only says that something was not found."""
    chain = _behind(error) if isinstance(error, FileNotFoundError) else [error]
    said = next((one for one in chain if not isinstance(one, FileNotFoundError)), error)
    return f"{type(said).__name__}: {' '.join(str(said).split())}".rstrip(": ")


def _package_missing(what: str, error: ImportError) -> PluginError:
    """The package that this kind of address needs: the extra that brings it, or the package itself."""
    scheme = what.partition(":")[0]
    package = known_implementations.get(scheme, {}).get("class", "fsspec").partition(".")[0]
    if package == "fsspec":  # it is there: what it imports is not
        names = [one.name for one in errors_behind(error) if isinstance(one, ImportError) and one.name]
        package = names[-1].partition(".")[0] if names else ""
    brought = package in _packages_of_extra()
    return PluginError(
        f"addresses like {scheme}:// need a package that is not installed",
        missing=str(error),
        hint=f'pip install "repcore[{EXTRA}]"'
        if brought
        else f"pip install {package.replace('_', '-')}"
        if package
        else None,
    )


def _packages_of_extra() -> set[str]:
    """Names that the extra installs, as they are imported."""
    try:
        needed = importlib.metadata.requires("repcore") or []
    except importlib.metadata.PackageNotFoundError:
        return set()
    own = [one for one in needed if re.search(rf"extra\s*==\s*['\"]{EXTRA}['\"]", one)]
    return {re.split(r"[^\w.-]", one, maxsplit=1)[0].replace("-", "_") for one in own}
