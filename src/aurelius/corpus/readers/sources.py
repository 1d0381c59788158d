"""Where stories come from: the storyteller, local files and folders, the Hugging Face hub, or Python."""

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import Any

from aurelius.config.settings import CorpusSettings
from aurelius.corpus import storyteller
from aurelius.corpus.readers.formats import READERS, TEXTUAL, open_file, readable, suffix_of
from aurelius.corpus.readers.hub import download, on_hub, size_on_hub
from aurelius.corpus.readers.reader import Documents, ReadOptions, is_skipped, text_of
from aurelius.errors import CorpusError

STORYTELLER_STORIES = 30_000
BYTES_OF_STORY = 820  # on average, of the storyteller and in TinyStories


@dataclass
class Source:
    """An opened source: its documents and what is known about them.

    ``skipped`` holds the names of hidden files, licences and the like, a list per folder or archive, which
    adds to its list while it is read.
    """

    name: str
    format: str
    stories: Iterable[str]
    files: list[Path] = field(default_factory=list)
    count: int | None = None
    skipped: list[list[str]] = field(default_factory=list)

    def batches(self, size: int) -> Iterator[Sequence[str]]:
        """Yield the documents in batches of ``size``."""
        if isinstance(self.stories, Sequence):
            for first in range(0, len(self.stories), size):
                yield self.stories[first : first + size]
            return
        documents = iter(self.stories)
        while batch := list(islice(documents, size)):
            yield batch


def open_source(recipe: CorpusSettings) -> Source:
    """Open what ``recipe.source`` names; several sources are read one after another.

    Raises:
        CorpusError: missing, empty, binary, of an unknown type, or without the column. Some of that shows
            only while reading.
        HubError: a ``hf:`` source is not available.
    """
    names = [recipe.source] if isinstance(recipe.source, str) else recipe.source
    return _chain([part for name in names for part in _open(name, recipe)])


def open_path(path: Path, options: ReadOptions | None = None) -> Source:
    """Open one local file, or all story files in a folder or matching a pattern such as ``tales/*.txt``.

    Raises:
        CorpusError: as `open_source`.
    """
    return _chain(_local(path, options or ReadOptions()))


def from_python(rows: Iterable[str | Mapping[str, Any]], column: str) -> Source:
    """Take texts, or rows with a text under ``column``, as the ``Dataset`` of `datasets` yields them.

    Raises:
        CorpusError: ``rows`` is a single text, or named splits; a row without a text shows while reading.
    """
    if isinstance(rows, (str, PurePath)):
        raise CorpusError(
            "stories is one text or path; pass a list of texts, or the path as corpus.source "
            '(overrides={"corpus.source": "stories.txt"})'
        )
    if hasattr(rows, "columns"):  # a table of pandas or polars
        raise CorpusError(f"stories is a table; pass the column with the texts, such as table[{column!r}]")
    if isinstance(rows, Mapping):
        raise CorpusError(f"stories holds {', '.join(map(str, rows))}; pass one of them")
    texts = (text_of(row, f"row {number} of the stories passed", column) for number, row in enumerate(rows))
    return Source("given", "from Python", texts, count=len(rows) if isinstance(rows, Sized) else None)


def size_of(recipe: CorpusSettings, reachable: bool = True) -> tuple[int | None, int]:
    """Return the bytes of text that ``recipe.source`` holds, and how many of them have to be downloaded.

    None if that cannot be told without reading: packed files, folders, files that do not exist (`open_source`
    says why), and the hub's if it cannot be reached or, without ``reachable``, may not be asked.
    """
    names = [recipe.source] if isinstance(recipe.source, str) else recipe.source
    total, missing = 0, 0
    for name in names:
        if name == "storyteller":
            total += (recipe.stories or STORYTELLER_STORIES) * BYTES_OF_STORY
            continue
        suffix, compression = suffix_of(Path(name))
        if suffix not in TEXTUAL or compression:
            return None, missing
        size, here = size_on_hub(name, reachable) if name.startswith("hf:") else (_size(Path(name)), True)
        if size is None:
            return None, missing
        total += size
        missing += 0 if here else size
    return total, missing


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _chain(parts: list[Source]) -> Source:
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
        [names for part in parts for names in part.skipped],
    )


def _open(name: str, recipe: CorpusSettings) -> list[Source]:
    if name == "storyteller":
        count = recipe.stories or STORYTELLER_STORIES
        return [
            Source(
                "storyteller",
                "the built-in storyteller",
                storyteller.stories(count, recipe.seed),
                count=count,
            )
        ]
    options = ReadOptions(recipe.column, recipe.encoding_errors, recipe.separator)
    if not name.startswith("hf:"):
        return _local(Path(name), options)
    sources = []
    for file in on_hub(name):
        documents = open_file(download(file), options)
        sources.append(_source(file, documents))
    return sources


def _source(name: str, documents: Documents, files: list[Path] | None = None) -> Source:
    skipped = [documents.skipped]
    return Source(name, documents.format, documents.texts, files or [], documents.count, skipped)


def _local(path: Path, options: ReadOptions) -> list[Source]:
    files, skipped = [path], []
    if path.is_dir():
        if (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file():
            raise CorpusError(
                f"{path} is a dataset that save_to_disk wrote; pass it from Python "
                "(aurelius.run(..., stories=datasets.load_from_disk(...))), or save it with to_parquet"
            )
        found = sorted(p for p in path.rglob("*") if p.is_file() and suffix_of(p)[0] in READERS)
        skipped = [str(p) for p in found if is_skipped(p.relative_to(path))]
        files = [p for p in found if not is_skipped(p.relative_to(path))]
        if not files:
            hidden = f" ({len(skipped)} hidden, licence or readme files were skipped)" if skipped else ""
            raise CorpusError(f"{path} is a folder without stories{hidden}; they are read from {readable()}")
    elif glob.has_magic(str(path)) and not path.exists():
        files = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
        if not files:
            raise CorpusError(f"no file matches {path}")
    options = replace(options, one_of_several=len(files) > 1)
    sources = [_source(str(file), open_file(file, options), [file]) for file in files]
    sources[0].skipped.append(skipped)
    return sources
