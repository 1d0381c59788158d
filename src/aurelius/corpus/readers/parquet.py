"""Parquet files with a column of texts."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq

from aurelius.corpus.readers.reader import Documents, File, ReadOptions, text_of
from aurelius.errors import CorpusError, first_line

BATCH = 1000  # rows held at once


def parquet(file: File, options: ReadOptions) -> Documents:
    """Read a column of texts.

    Raises:
        CorpusError: the file is compressed as a whole, is not Parquet, is truncated, or has no such column of
            texts; while reading, as `text_of`, or it is damaged, or its rows do not fit in memory.
    """
    column = options.column
    if file.path is None or file.compression:
        raise CorpusError(f"{file.name} is a compressed or archived Parquet file; unpack it")
    with _read_errors(file.name, "is not a Parquet file, or is truncated"):
        table = pq.ParquetFile(file.path)
    if column not in table.schema_arrow.names:
        columns = ", ".join(table.schema_arrow.names)
        raise CorpusError(f"{file.name} has no column '{column}', but {columns}; set corpus.column to one")
    kind = table.schema_arrow.field(column).type
    if not _is_text(kind):
        raise CorpusError(f"{file.name}: column '{column}' holds {kind}, not text; choose another column")

    def texts() -> Iterator[str]:
        with _read_errors(file.name, "is damaged"):
            batches = table.iter_batches(BATCH, columns=[column])
            values = chain.from_iterable(
                batch.column(0).cast(pa.large_string()).to_pylist() for batch in batches
            )
            for number, value in enumerate(values, 1):
                yield text_of(value or "", f"{file.name}, row {number}", column)

    return Documents(f"parquet, column '{column}'", texts(), table.metadata.num_rows)


def _is_text(kind: pa.DataType) -> bool:
    """Whether a column holds texts, also as a dictionary (pandas' categories) or as views."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


@contextmanager
def _read_errors(name: str, problem: str) -> Iterator[None]:
    """Make pyarrow's errors name the file and what is wrong with it."""
    try:
        yield
    except MemoryError as error:  # pyarrow's own is one
        raise CorpusError(
            f"{name}: its rows do not fit in memory ({first_line(error)}); write it with smaller row groups "
            f"(with pandas: to_parquet(..., row_group_size=10_000)), and look for rows that are not stories"
        ) from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's error, not the file's
        raise CorpusError(f"{name} {problem}: {first_line(error)}") from None
