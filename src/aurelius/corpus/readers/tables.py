"""Tables that were saved as text: they are recognised and refused, with advice."""

import csv
import re
from io import BytesIO
from itertools import islice

from aurelius.corpus.readers.lines import lines
from aurelius.corpus.readers.reader import Documents, File, ReadOptions
from aurelius.errors import CorpusError

DELIMITERS = ",;\t"
SAMPLE = 2**18  # bytes that show whether a text is a table,
SAMPLE_ROWS = 200  # and at most so many rows


def table(file: File, options: ReadOptions) -> Documents:
    """Refuse a table in CSV.

    Raises:
        CorpusError: always; the message says how to convert it.
    """
    raise CorpusError(table_message(file.name))


def table_message(name: str) -> str:
    """Say that a file is a table, and how to convert it."""
    return (
        f"{name} is a table in CSV; save it as .parquet or .jsonl (with pandas: "
        f"read_csv(...).to_parquet(...)) and set corpus.column to the column with the text"
    )


def is_table(sample: bytes, name: str, options: ReadOptions) -> bool:
    """Whether a text begins like a table: with a header that has the column's name, or with rows."""
    whole = len(sample) < SAMPLE
    if not whole:
        sample = sample[: sample.rfind(b"\n") + 1]  # no half line, no half character
    sampled = list(lines(BytesIO(sample), name, options))
    header = re.split(f"[{DELIMITERS}]", sampled[0].strip()) if sampled else []
    if options.column in [name.strip(' "') for name in header]:
        return True
    return any(_has_rows(sampled, delimiter, whole) for delimiter in DELIMITERS)


def _has_rows(sampled: list[str], delimiter: str, whole: bool) -> bool:
    """Whether lines form at least three rows of equally many fields that are not parts of sentences."""
    try:
        rows = [row for row in islice(csv.reader(sampled, delimiter=delimiter), SAMPLE_ROWS) if row]
    except csv.Error:  # such as a field of more than 128 KiB
        return False
    if not whole:  # the last one may be cut off
        rows = rows[:-1]
    if len(rows) < 3 or len({len(row) for row in rows}) > 1:
        return False
    # Prose has a space after a comma. A few stories of a table may begin with one, too.
    fields = [field for row in rows for field in row[1:] if field]
    spaced = sum(field[0] == " " for field in fields)
    # In verse whose lines all end with a comma, or begin with a tab, one column is empty.
    return any(row[0] for row in rows) and 4 * spaced < len(fields)
