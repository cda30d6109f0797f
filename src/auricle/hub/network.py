"""The only place that talks to the Hub, and where its errors become ours."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import tqdm

from auricle.errors import CheckpointError, ModelNotFoundError, nearest
from auricle.hub.cache import BUNDLED, cache_root, choose_files, scan_cache, unmatched

TIMEOUT = 10.0  # seconds to wait for the Hub's first answer


def fetch_file(name: str, file: str, revision: str | None, token: str | bool | None) -> Path:
    """Download one file of a repository into the cache and return its path.

    Raises:
        ModelNotFoundError, CheckpointError: As `fetch_snapshot`.
    """
    with _errors_explained(name, revision, file):
        return Path(hf_hub_download(name, file, revision=revision, token=token, tqdm_class=_bar(None)))


def fetch_first(name: str, files: Sequence[str], revision: str | None, token: str | bool | None) -> Path:
    """Download the first of some files that a repository has; where it has none, the error is of the first.

    Raises:
        ModelNotFoundError, CheckpointError: As `fetch_snapshot`.
    """
    missing: ModelNotFoundError | None = None
    for file in files:
        try:
            return fetch_file(name, file, revision, token)
        except ModelNotFoundError as error:
            missing = missing or error
            if not isinstance(error.__cause__, EntryNotFoundError):
                break
    assert missing is not None, "there is a file to look for"
    raise missing


def fetch_snapshot(
    name: str,
    revision: str | None,
    token: str | bool | None,
    extra_files: Sequence[str],
    progress: Callable[[int, int], None] | None,
) -> Path:
    """Download what loading needs of a repository into the cache and return the snapshot's folder.

    Raises:
        ModelNotFoundError: The repository, the revision or an extra file does not exist, or may not be seen.
        CheckpointError: Access needs a token, the Hub cannot be reached or fails, or the disk refuses.
    """
    with _errors_explained(name, revision):
        info = HfApi().model_info(name, revision=revision, token=token, timeout=TIMEOUT)
        listing = [file.rfilename for file in info.siblings or ()]
    absent = unmatched(listing, extra_files)
    if absent:
        raise ModelNotFoundError(
            f"{name} has no file {' or '.join(absent)}{nearest(absent[0], listing) or '.'} It has "
            f"{', '.join(sorted(listing)[:12])} and others; {len(listing)} in all."
        )
    with _errors_explained(name, revision):
        return Path(
            snapshot_download(
                name,
                revision=revision,
                token=token,
                allow_patterns=choose_files(listing, extra_files),
                tqdm_class=_bar(progress),
            )
        )


def _bar(progress: Callable[[int, int], None] | None) -> Any:
    """Return the class of progress bars: the Hub's own on a terminal, else one that draws nothing."""
    if progress is None and sys.stderr.isatty():
        return None

    class Quiet(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.counts = progress is not None and kwargs.get("name") == "huggingface_hub.snapshot_download"
            kwargs["disable"] = True
            super().__init__(*args, **kwargs)
            self.n = kwargs.get("initial") or 0
            self.total = kwargs.get("total")

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if self.counts and progress is not None:
                progress(int(self.n), int(self.total or 0))

    return Quiet


@contextmanager
def _errors_explained(name: str, revision: str | None, file: str = "") -> Iterator[None]:
    try:
        yield
    except (HTTPError, OSError, EntryNotFoundError, ValueError) as error:
        raise _explained(error, name, revision, file) from error


def _explained(error: Exception, name: str, revision: str | None, file: str) -> CheckpointError:
    """Return our error for one of the Hub's; the order goes from the special to the general."""
    endpoint = constants.ENDPOINT
    at = f" at revision {revision!r}" if revision else ""
    give_token = "give token=..., set HF_TOKEN, or run 'hf auth login'"
    cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
    if isinstance(cause, GatedRepoError):
        return CheckpointError(
            f"{name} is gated, and access was refused (HTTP {status}). Accept its conditions at "
            f"{endpoint}/{name}, then {give_token}."
        )
    if isinstance(cause, RevisionNotFoundError):
        return ModelNotFoundError(f"{name} has no revision {revision!r}. See {endpoint}/{name}/tree/main.")
    if isinstance(cause, RepositoryNotFoundError):
        here = [BUNDLED, *sorted({model.name for model in scan_cache()})]
        hint = nearest(name, here).replace("did you mean", "here there is").rstrip("?")
        return ModelNotFoundError(
            f"{endpoint} has no model {name!r} that can be seen from here (HTTP {status}){hint}. Check the "
            f"spelling; if it is private, {give_token}."
        )
    if status in (401, 403):
        return CheckpointError(
            f"{endpoint} refused access to {name} (HTTP {status}): check the token, or {give_token}."
        )
    if isinstance(cause, OfflineModeIsEnabled):
        return ModelNotFoundError(f"{name}{at} is not in the cache and HF_HUB_OFFLINE is set. Unset it to download.")
    if isinstance(cause, EntryNotFoundError) and not isinstance(cause, LocalEntryNotFoundError):
        lost = file or _first_line(cause)
        return ModelNotFoundError(
            f"{name}{at} lacks a file that loading needs: {lost}. See {endpoint}/{name}/tree/main."
        )
    if status is not None:
        return CheckpointError(f"{endpoint} answered HTTP {status} for {name}{at}. Try again later.")
    number = getattr(cause, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return CheckpointError(f"no space for {name} in {cache_root()}. Free some, or set HF_HUB_CACHE.")
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return CheckpointError(f"{cache_root()} cannot be written ({cause}). Set HF_HUB_CACHE elsewhere.")
    return CheckpointError(
        f"{name}{at} could not be downloaded from {endpoint}: {type(cause).__name__}: {_first_line(cause)}. "
        "Check the network (proxy, HF_ENDPOINT) and run it again; files that arrived whole are kept."
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
