"""Plain text."""

from collections.abc import Iterator

from aurelius.corpus.readers.lines import lines
from aurelius.corpus.readers.reader import END_MARKS, Documents, File, ReadOptions
from aurelius.corpus.readers.separators import Separator, detect, named
from aurelius.corpus.readers.tables import SAMPLE, is_table, table_message
from aurelius.errors import CorpusError


def text(file: File, options: ReadOptions) -> Documents:
    """Read the stories of a text, split at ``options.separator`` or, by default, as the layout suggests.

    Raises:
        CorpusError: as `lines`; or the text is a table.
    """
    separator = named(options.separator) or _detected(file, options)

    def stories() -> Iterator[str]:
        with file.open() as stream:
            yield from separator.split(lines(stream, file.name, options), file.name)

    return Documents(f"text{file.how_packed}, {separator}", stories())


def _detected(file: File, options: ReadOptions) -> Separator:
    with file.open() as stream:
        separator = detect(lines(stream, file.name, options), options.one_of_several)
    if separator.kind != "mark" and not separator.quoted:
        with file.open() as stream:
            if is_table(stream.read(SAMPLE), file.name, options):
                raise CorpusError(
                    f"{table_message(file.name)}; if it is not a table, separate its stories by "
                    f"{END_MARKS[0]}, or say how they are separated with --separator"
                )
    return separator
