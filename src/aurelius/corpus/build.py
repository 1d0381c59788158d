"""The corpus stage: from a source of stories to ``train.parquet``, ``valid.parquet``, and what was dropped.

Stories are read and cleaned batch by batch into shards (`shards`), by several processes if asked; then
duplicates are found and the stories split (`split`), and one pass over the shards writes the corpus
(`write`). The result does not depend on the order of the source or on the number of processes. Meanwhile
``work/`` holds the shards: an interrupted stage resumes with those that are complete.
"""

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from aurelius.config.recipe import Recipe
from aurelius.config.settings import CorpusSettings
from aurelius.corpus import advice, shards, split, write
from aurelius.corpus.readers.sources import Source, from_python, open_source
from aurelius.errors import CorpusError
from aurelius.files import read_json, write_json
from aurelius.progress import SILENT, Progress
from aurelius.workers import worker_pool

WORK = "work"
PLAN = "plan.json"  # what the shards in work/ were made from


def build(
    recipe: Recipe,
    out: Path,
    progress: Progress = SILENT,
    workers: int = 1,
    stories: Iterable[str | Mapping[str, Any]] | None = None,
) -> list[Path]:
    """Read, clean, deduplicate and split the stories; write the corpus folder ``out``.

    Args:
        recipe: its ``[corpus]`` section is used.
        out: the folder to write.
        progress: reports the stories read.
        workers: processes that clean.
        stories: read instead of the source: any iterable of texts, or of rows with the recipe's column.

    Returns:
        The user's files that were read.

    Raises:
        CorpusError: the source cannot be read, or fewer than two stories are left.
        HubError: a ``hf:`` source is not available.
        MemoryExhausted: a process that cleans was killed.
    """
    sources, shard_lists = make_shards(recipe, out, progress, workers, stories)
    source, options = sources[0], recipe.corpus
    kept, held_out = shard_lists[0], shard_lists[1] if len(shard_lists) > 1 else []
    counts = shards.total_counts(kept)
    for reason, number in shards.total_counts(held_out).dropped.items():
        counts.dropped[write.HELD_OUT + reason] += number
    advice.report_reading(source, counts, progress)
    progress.note(f"corpus: cleaning kept {counts.kept:,} of {counts.read:,} stories; looking for duplicates")
    fates = split.decide(kept, held_out, options)
    train, valid = (int((fates.fate == side).sum()) for side in (split.TRAIN, split.VALID))
    if min(train, valid) == 0:
        for code, reason in split.REASONS.items():
            counts.dropped[reason] += int((fates.fate == code).sum())
        reasons = ", ".join(f"{n} {reason}" for reason, n in counts.dropped.items() if n) or "none dropped"
        if len(sources) > 1 and not valid:
            raise CorpusError(f"{sources[1].name} holds no usable story to hold out ({reasons})")
        remedy = advice.remedy(counts, options)
        raise CorpusError(
            f"{source.name} holds {train + valid} usable stories of {counts.read} read "
            f"({reasons}); training and validation need at least one each. Read as {source.format}"
            f"{'. ' + remedy if remedy else ''}"
        )
    progress.note(f"corpus: {train:,} stories for training, {valid:,} held out")
    advice.warn_of_drops(counts, options, progress)
    advice.warn_of_size(train, valid, progress)
    write.corpus(out, kept, held_out, fates, counts, [(s.name, s.format) for s in sources], progress)
    shutil.rmtree(out / WORK)
    return [path for source in sources for path in source.files]


def prepare_work(
    recipe: Recipe, out: Path, stories: Iterable[str | Mapping[str, Any]] | None = None
) -> list[Source]:
    """Open the sources, and keep only those shards in ``out/work`` that were made from them.

    The arguments and errors are those of `build`.

    Returns:
        The source, and that of the held-out stories if the recipe names one.
    """
    options = recipe.corpus
    sources = _open_sources(options, stories)
    files = [path for source in sources for path in source.files]
    plan: dict[str, Any] = {
        "recipe": options.model_dump(),
        "sources": [source.name for source in sources],
        "files": {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in files},
    }
    work = out / WORK
    resumable = stories is None and (work / PLAN).is_file()
    if not (resumable and read_json(work / PLAN) == plan):
        shutil.rmtree(work, ignore_errors=True)
        write_json(work / PLAN, plan)
    return sources


def make_shards(
    recipe: Recipe,
    out: Path,
    progress: Progress = SILENT,
    workers: int = 1,
    stories: Iterable[str | Mapping[str, Any]] | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> tuple[list[Source], list[list[Path]]]:
    """Make the missing shards in ``out/work`` that belong to machine ``rank`` of ``world_size``.

    The other arguments and the errors are those of `build`, which continues from here. With several machines
    `prepare_work` runs before all of them: they would remove each other's shards.

    Returns:
        The source, and that of the held-out stories if the recipe names one; and the shards of each.
    """
    options = recipe.corpus
    sources = prepare_work(recipe, out, stories) if world_size == 1 else _open_sources(options, stories)
    shard_lists: list[list[Path]] = []
    for name, source in zip(("stories", "held out"), sources, strict=False):
        folder = out / WORK / name
        with (
            progress.task("corpus: reading stories", source.count, "stories") as task,
            worker_pool(workers) as submit,
        ):
            pending: deque[tuple[Future[Any] | None, int]] = deque()
            for number, batch in enumerate(source.batches(shards.BATCH)):
                shard = folder / f"{number:06d}"
                due = number % world_size == rank and not shards.is_done(shard)
                pending.append((submit(shards.make, batch, options, shard) if due else None, len(batch)))
                while len(pending) > workers:
                    _finish(*pending.popleft(), task.advance)
            while pending:
                _finish(*pending.popleft(), task.advance)
        shard_lists.append(shards.folders(folder))
    return sources, shard_lists


def _open_sources(options: CorpusSettings, stories: Iterable[str | Mapping[str, Any]] | None) -> list[Source]:
    sources = [open_source(options) if stories is None else from_python(stories, options.column)]
    if options.valid_source:
        sources.append(open_source(options.model_copy(update={"source": options.valid_source, "stories": 0})))
    return sources


def _finish(future: Future[Any] | None, count: int, advance: Callable[[int], None]) -> None:
    if future:
        future.result()
    advance(count)
