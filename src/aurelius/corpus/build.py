"""Stage 1: from a source of stories to ``train.parquet``, ``valid.parquet``, and what was dropped and why.

Reading and cleaning go batch by batch into shards (`shards`), by several processes where asked; then
duplicates are found and the stories split (`split`), and one pass over the shards writes the corpus
(`report`). What is written does not depend on the order of the source or the number of processes. ``work/``
holds the shards meanwhile: a stage that was stopped goes on with those that are complete.
"""

import os
import shutil
import signal
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aurelius.config.recipe import Recipe
from aurelius.config.sections import CorpusRecipe
from aurelius.corpus import report, shards, split
from aurelius.corpus.readers.sources import Source, given, open_source
from aurelius.errors import (
    CorpusError,
    MemoryExhausted,
    RunError,
    first_line,
)
from aurelius.files import read_json, write_json
from aurelius.progress import SILENT, Progress
from aurelius.signals import held_back

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
        recipe: its ``[corpus]`` section is read.
        out: the folder to write.
        progress: told the stories read.
        workers: processes that clean.
        stories: read instead of the source: any iterable of texts, or of rows with the recipe's column.

    Returns:
        The user's files that were read.

    Raises:
        CorpusError: the source cannot be read, or fewer than two stories are left.
        HubError: a ``hf:`` source cannot be had.
        MemoryExhausted: a process that cleans was killed.
    """
    sources, made = prepare(recipe, out, progress, workers, stories)
    source, options = sources[0], recipe.corpus
    kept, held = made[0], made[1] if len(made) > 1 else []
    counts = shards.counts(kept)
    for reason, number in shards.counts(held).dropped.items():
        counts.dropped[report.HELD_OUT + reason] += number
    progress.note(
        f"corpus: {counts.kept:,} of {counts.read:,} stories left by cleaning; looking for duplicates"
    )
    fates = split.decide(kept, held, options)
    sides = {"train": int((fates.fate == split.TRAIN).sum()), "valid": int((fates.fate == split.VALID).sum())}
    if min(sides.values()) == 0:
        for code, reason in split.REASONS.items():
            counts.dropped[reason] += int((fates.fate == code).sum())
        reasons = ", ".join(f"{n} {reason}" for reason, n in counts.dropped.items() if n) or "none dropped"
        if len(sources) > 1 and not sides["valid"]:
            raise CorpusError(f"{sources[1].name} holds no usable story to hold out ({reasons})")
        raise CorpusError(
            f"{source.name} holds {sum(sides.values())} usable stories of {counts.read} read "
            f"({reasons}); training and validation need one each at least. Read as {source.format}"
        )
    progress.note(f"corpus: {sides['train']:,} stories to train on, {sides['valid']:,} held out")
    report.write(out, kept, held, fates, counts, [(part.name, part.format) for part in sources], progress)
    shutil.rmtree(out / WORK)
    return [path for part in sources for path in part.files]


def begin(
    recipe: Recipe, out: Path, stories: Iterable[str | Mapping[str, Any]] | None = None
) -> list[Source]:
    """Open the sources, and leave the shards in ``out/work`` that were made from them, and no others.

    The arguments and the errors are those of `build`.

    Returns:
        The source, and that of the stories held out if the recipe names one.
    """
    sources = _sources(recipe.corpus, stories)
    _begin(out / WORK, sources, recipe.corpus, resume=stories is None)
    return sources


def prepare(
    recipe: Recipe,
    out: Path,
    progress: Progress = SILENT,
    workers: int = 1,
    stories: Iterable[str | Mapping[str, Any]] | None = None,
    rank: int = 0,
    size: int = 1,
) -> tuple[list[Source], list[list[Path]]]:
    """Make the shards in ``out/work`` that are not there yet, and that are for machine ``rank`` of ``size``.

    The other arguments and the errors are those of `build`, which goes on from here. Of several machines none
    begins (`begin` comes before them all): they would remove each other's shards.

    Returns:
        The source, and that of the stories held out if the recipe names one; the shards of each.
    """
    options = recipe.corpus
    sources = begin(recipe, out, stories) if size == 1 else _sources(options, stories)
    made: list[list[Path]] = []
    for name, source in zip(("stories", "held out"), sources, strict=False):
        folder = out / WORK / name
        with (
            progress.task("corpus: reading stories", source.count, "stories") as task,
            _pool(workers) as submit,
        ):
            pending: deque[tuple[Future[Any] | None, int]] = deque()
            for number, batch in enumerate(source.batches(shards.BATCH)):
                shard = folder / f"{number:06d}"
                ours = number % size == rank and not shards.done(shard)
                pending.append((submit(shards.prepare, batch, options, shard) if ours else None, len(batch)))
                while len(pending) > workers:
                    _finish(*pending.popleft(), task.advance)
            while pending:
                _finish(*pending.popleft(), task.advance)
        made.append(shards.folders(folder))
    return sources, made


def load(folder: Path, name: str) -> list[str]:
    """Return the stories of ``train`` or ``valid`` of a corpus folder.

    Raises:
        RunError: the file is missing or damaged.
    """
    return list(Texts(folder, name))


class Texts(Collection[str]):
    """The stories of ``train`` or ``valid`` of a corpus folder, read as they are iterated over."""

    def __init__(self, folder: Path, name: str, most: int | None = None):
        """Open them, the first ``most`` if it is given.

        Raises:
            RunError: the file is missing or damaged.
        """
        self.path = folder / f"{name}.parquet"
        with self._complaints():
            rows = pq.read_metadata(self.path).num_rows
        self.count = rows if most is None else min(most, rows)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[str]:
        return islice(self._all(), self.count)

    def __contains__(self, text: object) -> bool:
        return any(text == other for other in self)

    def _all(self) -> Iterator[str]:
        with self._complaints(), pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(1000, columns=["text"]):
                yield from batch.column(0).to_pylist()

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise RunError(
                f"{self.path} cannot be read: {first_line(error)}; "
                "aurelius run RUN --verify --update makes it anew"
            ) from None


def _sources(options: CorpusRecipe, stories: Iterable[str | Mapping[str, Any]] | None) -> list[Source]:
    sources = [open_source(options) if stories is None else given(stories, options.column)]
    if options.valid_source:
        sources.append(open_source(options.model_copy(update={"source": options.valid_source, "stories": 0})))
    return sources


def _begin(work: Path, sources: Sequence[Source], options: CorpusRecipe, resume: bool) -> None:
    """Leave shards of the same plan in ``work``, and nothing else."""
    files = [path for source in sources for path in source.files]
    plan: dict[str, Any] = {
        "recipe": options.model_dump(),
        "sources": [source.name for source in sources],
        "files": {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in files},
    }
    if not (resume and (work / PLAN).is_file() and read_json(work / PLAN) == plan):
        shutil.rmtree(work, ignore_errors=True)
        write_json(work / PLAN, plan)


def _finish(future: Future[Any] | None, count: int, advance: Callable[[int], None]) -> None:
    if future:
        future.result()
    advance(count)


@contextmanager
def _pool(workers: int) -> Iterator[Callable[..., Future[Any]]]:
    """Give a way to have work done, by this process if it is the only one."""
    if workers > 1:
        try:
            with ProcessPoolExecutor(workers, get_context("spawn"), _follow) as pool:

                def later(*work: Any) -> Future[Any]:
                    with held_back():
                        return pool.submit(*work)

                yield later
        except BrokenProcessPool:
            raise MemoryExhausted(
                "a process that cleans stories was killed, for want of memory most likely; what is done is "
                "kept: run the same command again, with --workers 1"
            ) from None
        return

    def at_once(work: Callable[..., None], *arguments: Any) -> Future[Any]:
        work(*arguments)
        done: Future[Any] = Future()
        done.set_result(None)
        return done

    yield at_once


def _follow() -> None:
    """Leave Ctrl-C to the process that this one works for, and end with it, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
