"""Files of datasets on the Hugging Face hub, named ``hf:owner/dataset/path``, through its own library."""

import fnmatch
import glob
import re
import time
from pathlib import Path

from aurelius.errors import CorpusError, HubError, first_line
from aurelius.files import sha256
from aurelius.retry import with_retries

_waits: list[float] = []  # seconds of each download by this process


def working_clock() -> float:
    """Return the seconds of the monotonic clock, without the time that downloads took."""
    return time.monotonic() - sum(_waits)


def on_hub(name: str) -> list[str]:
    """Return the hub files that a name stands for; it may be a pattern, ``hf:owner/dataset/data/*.parquet``.

    With HF_HUB_OFFLINE set, these are the files that were downloaded before.

    Raises:
        CorpusError: the name does not have that form.
        HubError: the hub cannot be reached, or has no such files.
    """
    dataset, pattern = _parts(name)
    if not glob.has_magic(pattern):
        return [name]
    from huggingface_hub import HfApi, constants

    try:
        if constants.HF_HUB_OFFLINE:
            files = _downloaded(dataset, pattern)
        else:
            files = with_retries(lambda: HfApi().list_repo_files(dataset, repo_type="dataset"))
    except Exception as error:  # the hub's own errors, its HTTP library's, and the system's
        raise HubError(f"cannot list the files of hf:{dataset}: {first_line(error)}") from error
    matching = sorted(fnmatch.filter(files, pattern))
    if not matching:
        downloaded = " that was downloaded (HF_HUB_OFFLINE is set)" if constants.HF_HUB_OFFLINE else ""
        existing = ", ".join(files[:8]) or "none"
        raise HubError(f"no file of hf:{dataset}{downloaded} matches {pattern}; it has {existing}")
    return [f"hf:{dataset}/{file}" for file in matching]


def download(name: str) -> Path:
    """Return the local copy of ``hf:owner/dataset/path``, downloading it once.

    `huggingface_hub` resumes a broken transfer, checks the length of what it received, and honours
    HF_HUB_OFFLINE. The content is checked here, if its hash is known.

    Raises:
        CorpusError: the name does not have that form.
        HubError: the hub cannot be reached or has no such file, or the download is damaged.
    """
    dataset, file = _parts(name)
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(dataset, file, repo_type="dataset")
        started = time.monotonic()
        path = Path(with_retries(lambda: hf_hub_download(dataset, file, repo_type="dataset")))
    except Exception as error:  # the hub's own errors, its HTTP library's, and the system's
        raise HubError(f"cannot download {name}: {first_line(error)}") from error
    if str(path) != cached:
        _waits.append(time.monotonic() - started)
        _check_hash(path, name)
    return path


def size_on_hub(name: str, reachable: bool = True) -> tuple[int | None, bool]:
    """Return the bytes of a file, and whether it is downloaded; None if the hub does not tell.

    Raises:
        CorpusError: the name does not have the form of a hub file.
    """
    dataset, file = _parts(name)
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(dataset, file, repo_type="dataset")
        if isinstance(cached, str):
            return Path(cached).stat().st_size, True
        if constants.HF_HUB_OFFLINE or not reachable or glob.has_magic(file):
            return None, False
        return get_hf_file_metadata(hf_hub_url(dataset, file, repo_type="dataset")).size, False
    except Exception:  # the download, which follows, says what is wrong
        return None, False


def _parts(name: str) -> tuple[str, str]:
    """Split ``hf:owner/dataset/path`` into the dataset and the path."""
    owner, _, rest = name.removeprefix("hf:").partition("/")
    dataset, _, file = rest.partition("/")
    if not (owner and dataset and file):
        raise CorpusError(f"'{name}' is not of the form hf:owner/dataset/file")
    return f"{owner}/{dataset}", file


def _downloaded(dataset: str, pattern: str) -> list[str]:
    """Return the files of a dataset that are in the cache; the hub's library knows if some are missing."""
    from huggingface_hub import snapshot_download

    folder = Path(
        snapshot_download(dataset, repo_type="dataset", local_files_only=True, allow_patterns=pattern)
    )
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]


def _check_hash(path: Path, name: str) -> None:
    """Remove a download that does not match its hash; the cache names large files by theirs."""
    blob = path.resolve()
    if not re.fullmatch("[0-9a-f]{64}", blob.name) or sha256(blob) == blob.name:
        return
    for damaged in (blob, path):
        damaged.unlink(missing_ok=True)
    raise HubError(f"the download of {name} was damaged and has been removed; run the command again")
