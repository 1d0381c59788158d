"""Stage 1: from a source of stories to ``train.parquet``, ``valid.parquet`` and ``report.json``.

Each file holds one column, ``text``. The report counts every story read, kept, and dropped with its reason.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aurelius.artifacts import write_json
from aurelius.corpus.clean import Split, select
from aurelius.corpus.sources import open_source
from aurelius.errors import CorpusError, RunError, first_line
from aurelius.progress import SILENT, Progress
from aurelius.recipe import Recipe


def build(recipe: Recipe, out: Path, progress: Progress = SILENT) -> list[Path]:
    """Read, clean, deduplicate and split the stories; write the corpus folder ``out``.

    Args:
        recipe: its ``[corpus]`` section is read.
        out: the folder to write.
        progress: told the stories read.

    Returns:
        The user's files that were read.

    Raises:
        CorpusError: the source cannot be read, or fewer than two stories are left.
        HubError: a ``hf:`` source cannot be had.
    """
    source = open_source(recipe.corpus)
    with progress.task("corpus: reading stories", source.count, "stories") as task:
        split = select(source.stories, recipe.corpus, task)
    if len(split.train) + len(split.valid) < 2:
        raise CorpusError(
            f"{source.name} holds {len(split.train) + len(split.valid)} usable stories of {split.read} read "
            f"({_reasons(split)}); training and validation need one each at least. Read as {source.format}"
        )
    out.mkdir(parents=True, exist_ok=True)
    for name, texts in (("train", split.train), ("valid", split.valid)):
        pq.write_table(pa.table({"text": texts}), out / f"{name}.parquet", compression="zstd")
    write_json(
        out / "report.json",
        {
            "source": source.name,
            "format": source.format,
            "stories_read": split.read,
            "dropped": dict(split.dropped),
            "train": _summary(split.train),
            "valid": _summary(split.valid),
        },
    )
    return source.files


def load(folder: Path, name: str) -> list[str]:
    """Return the stories of ``train`` or ``valid`` of a corpus folder.

    Raises:
        RunError: the file is missing or damaged.
    """
    path = folder / f"{name}.parquet"
    try:
        return pq.read_table(path, columns=["text"])["text"].to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise RunError(
            f"{path} cannot be read: {first_line(error)}; aurelius run RUN --verify --update makes it anew"
        ) from None


def _summary(texts: list[str]) -> dict[str, int]:
    return {
        "stories": len(texts),
        "words": sum(len(text.split()) for text in texts),
        "bytes": sum(len(text.encode()) for text in texts),
    }


def _reasons(split: Split) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in split.dropped.items()) or "none dropped"
