"""Where stories come from: the storyteller, a local file, or the Hugging Face hub when named with ``hf:``.

A *document* is the text between separators with outer newlines stripped, before any cleaning.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aurelius.corpus import storyteller
from aurelius.errors import CorpusError, HubError, first_line
from aurelius.sections import CorpusRecipe

SEPARATOR = "<|endoftext|>"
STORYTELLER_STORIES = 30_000


@dataclass
class Source:
    """An opened source: an iterator of documents and what is known of them."""

    name: str
    format: str
    stories: Iterator[str]
    files: list[Path]
    count: int | None = None


def open_source(recipe: CorpusRecipe) -> Source:
    """Open what ``recipe.source`` names; several sources are read one after the other.

    Raises:
        CorpusError: missing, empty, binary, of an unknown type, or without the column. Some of that shows
            only while reading.
        HubError: a ``hf:`` source cannot be had.
    """
    names = [recipe.source] if isinstance(recipe.source, str) else recipe.source
    parts = [_open(name, recipe) for name in names]
    source = parts[0]
    if len(parts) > 1:
        counts = [part.count for part in parts]
        source = Source(
            " and ".join(part.name for part in parts),
            "; ".join(part.format for part in parts),
            chain.from_iterable(part.stories for part in parts),
            [path for part in parts for path in part.files],
            None if None in counts else sum(filter(None, counts)),
        )
    if recipe.stories and recipe.source != "storyteller":
        source.format += f", the first {recipe.stories} that are kept"
        source.count = min(source.count or recipe.stories, recipe.stories)
    return source


def _open(name: str, recipe: CorpusRecipe) -> Source:
    if name == "storyteller":
        count = recipe.stories or STORYTELLER_STORIES
        return Source("storyteller", "built in", storyteller.stories(count, recipe.seed), [], count)
    if not name.startswith("hf:"):
        return open_file(Path(name), recipe.column)
    source = open_file(download(name), recipe.column)
    source.name, source.files = name, []
    return source


def open_file(path: Path, column: str = "text") -> Source:
    """Open a local .txt, .jsonl or .parquet file of stories.

    Raises:
        CorpusError: as `open_source`.
    """
    if path.is_dir():
        raise CorpusError(f"{path} is a folder; give one .txt, .jsonl or .parquet file of stories")
    if not path.is_file():
        raise CorpusError(f"{path} is not there (a file on the hub is named hf:owner/dataset/file)")
    if path.stat().st_size == 0:
        raise CorpusError(f"{path} is empty")
    kind = path.suffix.lower()
    if kind == ".parquet":
        return _parquet(path, column)
    if kind == ".jsonl":
        return Source(str(path), f"jsonl, key '{column}'", _jsonl(path, column), [path])
    if kind != ".txt":
        raise CorpusError(
            f"{path} is of type '{kind}'; stories are read from .txt, .jsonl and .parquet files"
        )
    if _has_separator(path):
        return Source(str(path), f"text, stories parted by {SEPARATOR} lines", _separated(path), [path])
    return Source(str(path), f"text, stories parted by blank lines (no {SEPARATOR})", _blocks(path), [path])


def download(name: str) -> Path:
    """Return the local copy of ``hf:owner/dataset/path/in/it``, downloading it once.

    Raises:
        CorpusError: the name is not of that form.
        HubError: the hub cannot be reached, or has no such file.
    """
    owner, slash, rest = name.removeprefix("hf:").partition("/")
    dataset, slash2, file = rest.partition("/")
    if not (owner and slash and dataset and slash2 and file):
        raise CorpusError(f"'{name}' is not of the form hf:owner/dataset/file")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(f"{owner}/{dataset}", file, repo_type="dataset"))
    except Exception as error:  # the hub's own errors, its HTTP library's, and the system's
        raise HubError(f"cannot download {name}: {first_line(error)}") from error


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, line ends included."""
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if b"\0" in line:
                raise CorpusError(f"{path} is not text: a zero byte stands in line {number}")
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                at = offset + error.start
                raise CorpusError(
                    f"{path} is not UTF-8 text: byte 0x{line[error.start]:02x} at {at} (line {number}); "
                    "convert the file to UTF-8"
                ) from None
            offset += len(line)


def _has_separator(path: Path) -> bool:
    return any(line.strip() == SEPARATOR for line in _lines(path))


def _separated(path: Path) -> Iterator[str]:
    story: list[str] = []
    for line in _lines(path):
        if line.strip() == SEPARATOR:
            yield "".join(story).strip("\r\n")
            story = []
        else:
            story.append(line)
    if rest := "".join(story).strip("\r\n"):
        yield rest


def _blocks(path: Path) -> Iterator[str]:
    story: list[str] = []
    for line in _lines(path):
        if line.strip():
            story.append(line)
        elif story:
            yield "".join(story).strip("\r\n")
            story = []
    if story:
        yield "".join(story).strip("\r\n")


def _jsonl(path: Path, key: str) -> Iterator[str]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{path}, line {number} is not JSON: {error}") from None
        text = row.get(key) if isinstance(row, dict) else row
        if isinstance(row, dict) and key in row and text is None:
            text = ""  # as in Parquet, an empty story
        if not isinstance(text, str):
            found = f"keys {', '.join(row)}" if isinstance(row, dict) else f"a {type(row).__name__}"
            raise CorpusError(
                f"{path}, line {number} has no text under '{key}', but {found}; set corpus.column to the key"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise CorpusError(
                f"{path}, line {number} holds half of a surrogate pair (character {error.start}); remove it"
            ) from None
        yield text.strip("\r\n")


def _parquet(path: Path, column: str) -> Source:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise CorpusError(f"{path} is not a Parquet file, or cut short: {error}") from None
    if column not in file.schema_arrow.names:
        columns = ", ".join(file.schema_arrow.names)
        raise CorpusError(f"{path} has no column '{column}', but {columns}; set corpus.column to one of them")
    kind = file.schema_arrow.field(column).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise CorpusError(f"{path}: column '{column}' holds {kind}, not text")

    def stories() -> Iterator[str]:
        try:
            for batch in file.iter_batches(columns=[column]):
                for text in batch.column(0).to_pylist():
                    yield (text or "").strip("\r\n")
        except (pa.ArrowException, OSError) as error:
            raise CorpusError(f"{path} is damaged: {first_line(error)}") from None

    return Source(str(path), f"parquet, column '{column}'", stories(), [path], file.metadata.num_rows)
