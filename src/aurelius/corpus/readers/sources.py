"""Where stories come from: the storyteller, local files and folders, or the Hugging Face hub (``hf:...``)."""

import fnmatch
import glob
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from aurelius.config.sections import CorpusRecipe
from aurelius.corpus import storyteller
from aurelius.corpus.readers.formats import (
    KINDS,
    READABLE,
    kind_of,
    open_file,
)
from aurelius.corpus.readers.rows import text_of
from aurelius.corpus.readers.text import Reading
from aurelius.errors import CorpusError, HubError, first_line
from aurelius.files import sha256

STORYTELLER_STORIES = 30_000


@dataclass
class Source:
    """An opened source: its documents and what is known of them."""

    name: str
    format: str
    stories: Iterable[str]
    files: list[Path] = field(default_factory=list)
    count: int | None = None

    def batches(self, size: int) -> Iterator[Sequence[str]]:
        """Yield the documents in batches of ``size``."""
        if isinstance(self.stories, Sequence):
            for first in range(0, len(self.stories), size):
                yield self.stories[first : first + size]
            return
        documents = iter(self.stories)
        while batch := list(islice(documents, size)):
            yield batch


def open_source(recipe: CorpusRecipe) -> Source:
    """Open what ``recipe.source`` names; several sources are read one after the other.

    Raises:
        CorpusError: missing, empty, binary, of an unknown type, or without the column. Some of that shows
            only while reading.
        HubError: a ``hf:`` source cannot be had.
    """
    names = [recipe.source] if isinstance(recipe.source, str) else recipe.source
    return _chained([part for name in names for part in _open(name, recipe)])


def open_path(path: Path, reading: Reading | None = None) -> Source:
    """Open one local file, or all files of stories in a folder or under a pattern such as ``tales/*.txt``.

    Raises:
        CorpusError: as `open_source`.
    """
    return _chained(_local(path, reading or Reading()))


def given(rows: Iterable[str | Mapping[str, Any]], column: str) -> Source:
    """Take texts, or rows with a text under ``column``, as the ``Dataset`` of `datasets` yields them.

    Raises:
        CorpusError: what is given is one text, or named splits; a row without a text shows while reading.
    """
    if isinstance(rows, str):
        raise CorpusError("stories is one text; give a list of texts, or the path as corpus.source")
    if isinstance(rows, Mapping):
        raise CorpusError(f"stories holds {', '.join(map(str, rows))}; give one of them")
    texts = (text_of(row, f"row {number} of the stories given", column) for number, row in enumerate(rows))
    return Source("given", "from Python", texts, count=len(rows) if isinstance(rows, Sized) else None)


def _chained(parts: list[Source]) -> Source:
    if len(parts) == 1:
        return parts[0]
    counts = [part.count for part in parts]
    shown = parts if len(parts) <= 5 else [*parts[:2], parts[-1]]
    left_out = f" and {len(parts) - 3} more" if len(parts) > 5 else ""
    return Source(
        " and ".join(part.name for part in shown) + left_out,
        "; ".join(dict.fromkeys(part.format for part in parts)),
        chain.from_iterable(part.stories for part in parts),
        [path for part in parts for path in part.files],
        None if None in counts else sum(filter(None, counts)),
    )


def _open(name: str, recipe: CorpusRecipe) -> list[Source]:
    if name == "storyteller":
        count = recipe.stories or STORYTELLER_STORIES
        return [Source("storyteller", "built in", storyteller.stories(count, recipe.seed), count=count)]
    reading = Reading(recipe.column, recipe.encoding_errors)
    if not name.startswith("hf:"):
        return _local(Path(name), reading)
    found = []
    for file in on_hub(name):
        shape, stories, count = open_file(download(file), reading)
        found.append(Source(file, shape, stories, count=count))
    return found


def _local(path: Path, reading: Reading) -> list[Source]:
    files = [path]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and kind_of(p)[0] in KINDS)
        if not files:
            raise CorpusError(f"{path} is a folder without stories; they are read from {READABLE}")
    elif glob.has_magic(str(path)) and not path.exists():
        files = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
        if not files:
            raise CorpusError(f"no file matches {path}")
    found = []
    for file in files:
        shape, stories, count = open_file(file, reading)
        found.append(Source(str(file), shape, stories, [file], count))
    return found


def _parts(name: str) -> tuple[str, str]:
    """Split ``hf:owner/dataset/path/in/it`` into the dataset and the path."""
    owner, _, rest = name.removeprefix("hf:").partition("/")
    dataset, _, file = rest.partition("/")
    if not (owner and dataset and file):
        raise CorpusError(f"'{name}' is not of the form hf:owner/dataset/file")
    return f"{owner}/{dataset}", file


def on_hub(name: str) -> list[str]:
    """Return the hub files under a name that may be a pattern, ``hf:owner/dataset/data/*.parquet``.

    Under HF_HUB_OFFLINE they are those that were downloaded before.

    Raises:
        CorpusError: the name is not of that form.
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
            files = HfApi().list_repo_files(dataset, repo_type="dataset")
    except Exception as error:  # the hub's own errors, its HTTP library's, and the system's
        raise HubError(f"cannot list the files of hf:{dataset}: {first_line(error)}") from error
    found = sorted(fnmatch.filter(files, pattern))
    if not found:
        known = " that was downloaded (HF_HUB_OFFLINE is set)" if constants.HF_HUB_OFFLINE else ""
        held = ", ".join(files[:8]) or "none"
        raise HubError(f"no file of hf:{dataset}{known} matches {pattern}; it has {held}")
    return [f"hf:{dataset}/{file}" for file in found]


def _downloaded(dataset: str, pattern: str) -> list[str]:
    """Return the files of a dataset that are in the cache; the hub's library knows if some are missing."""
    from huggingface_hub import snapshot_download

    folder = Path(
        snapshot_download(dataset, repo_type="dataset", local_files_only=True, allow_patterns=pattern)
    )
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]


def download(name: str) -> Path:
    """Return the local copy of ``hf:owner/dataset/path/in/it``, downloading it once.

    `huggingface_hub` goes on with a transfer that broke, checks the length of what it got, and honours
    HF_HUB_OFFLINE. The content is checked here, where its hash is known.

    Raises:
        CorpusError: the name is not of that form.
        HubError: the hub cannot be reached, or has no such file; or what came is damaged.
    """
    dataset, file = _parts(name)
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    try:
        known = try_to_load_from_cache(dataset, file, repo_type="dataset")
        path = Path(hf_hub_download(dataset, file, repo_type="dataset"))
    except Exception as error:  # the hub's own errors, its HTTP library's, and the system's
        raise HubError(f"cannot download {name}: {first_line(error)}") from error
    if str(path) != known:
        _check(path, name)
    return path


def _check(path: Path, name: str) -> None:
    """Remove a download whose content is not what its hash says; the cache names large files by theirs."""
    blob = path.resolve()
    if not re.fullmatch("[0-9a-f]{64}", blob.name) or sha256(blob) == blob.name:
        return
    for damaged in (blob, path):
        damaged.unlink(missing_ok=True)
    raise HubError(f"what came of {name} is damaged, and was removed; run the command again")
