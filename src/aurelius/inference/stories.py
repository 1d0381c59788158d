"""Any number of stories, written by one process or by several."""

import math
import queue
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from aurelius.config.settings import GenerationSettings as Sampling
from aurelius.errors import AureliusError, MemoryExhausted, ModelError, RunError
from aurelius.inference.batch import WIDTH, Request, Written, write_stories
from aurelius.inference.language_model import LanguageModel
from aurelius.inference.llama_model import LlamaModel
from aurelius.inference.open_model import open_model
from aurelius.inference.sampling import changed, checked_seed
from aurelius.signals import blocked
from aurelius.workers import follow_parent


def stories(
    model: str | Path | LanguageModel,
    count: int = 1,
    prompt: str | Sequence[str] = "",
    seed: int = 0,
    *,
    workers: int = 1,
    device: str = "auto",
    sampling: Sampling | None = None,
    parse_special: bool = False,
    continue_word: bool = False,
    skip: "set[int] | None" = None,
    **changes: Any,
) -> Iterator[Written]:
    """Write stories with the seeds ``seed``, ``seed`` + 1 and so on, in the order in which they are finished.

    A story depends on its prompt and seed alone. It is the one that `generate` writes with them, unless two
    tokens are all but equally likely.

    Args:
        model: a run, folder or hub name, as `open_model` takes it; or, for one process, an open model.
        count: stories for every prompt.
        prompt: how they begin, or several such beginnings.
        seed: of each prompt's first story.
        workers: processes that write, at most one for every 32 stories of a Llama; above 1 the calling script
            needs a ``__main__`` guard.
        device: where a model that is not a plain Llama runs: auto, cpu, cuda or mps.
        sampling, parse_special, continue_word, changes: see `generate`.
        skip: numbers of stories that are not wanted; they count the stories prompt by prompt, from 0.

    Raises:
        RecipeError, TokenizerError, ModelError, HubError: see `generate` and `open_model`.
        MemoryExhausted, RunError: a worker was killed, or failed.
    """
    if workers < 1:
        raise ModelError(f"workers is {workers}; at least one process has to write")
    opened = open_model(model, device) if isinstance(model, str | Path) else model
    sampling = changed(sampling or opened.sampling, changes)
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    checked_seed(seed + count)
    if not sampling.max_new_tokens:
        for number, text in enumerate(prompts, 1):
            _check_room(opened, text, parse_special, f"prompt {number}, " if len(prompts) > 1 else "")
    numbered = (
        Request(number, prompts[number // count], checked_seed(seed) + number % count)
        for number in range(count * len(prompts))
    )
    requests = [request for request in numbered if not skip or request.number not in skip]
    how = (sampling, parse_special, continue_word)
    if isinstance(opened, LlamaModel):  # a batch takes as long for one story as for many
        workers = min(workers, math.ceil(len(requests) / WIDTH))
    if workers <= 1:
        return write_stories(opened, requests, *how)
    if not isinstance(model, str | Path):
        raise ModelError("several workers each open the model: pass its path instead of the open model")
    return _write_together(str(model), device, requests, how, workers)


def _check_room(model: LanguageModel, prompt: str, parse_special: bool, which: str) -> None:
    """Refuse a prompt that fills the context, before any story is written."""
    length = len(model.prefix) + len(model.encode(prompt, parse_special))
    if length >= model.context:
        raise ModelError(
            f"{which}{prompt[:40]!r}…, has {length:,} tokens with what comes before it, and the context of "
            f"{model.name} holds {model.context:,}; shorten it"
        )


def _write_together(
    model: str, device: str, requests: list[Request], how: tuple[Sampling, bool, bool], workers: int
) -> Iterator[Written]:
    """Share requests among processes, and yield what they write."""
    context = get_context("spawn")
    results = context.Queue()
    shares = [requests[worker::workers] for worker in range(workers)]
    processes = [
        context.Process(target=_write_share, args=(model, device, share, how, results), daemon=True)
        for share in shares
    ]
    try:
        for process in processes:
            with blocked():  # Ctrl-C is for this process
                process.start()
        working = len(processes)
        while working:
            try:
                result = results.get(timeout=1)
            except queue.Empty:
                _check(process.exitcode for process in processes)
                continue
            if isinstance(result, AureliusError):
                raise result
            if result is None:
                working -= 1
            else:
                yield result
    finally:
        for process in processes:
            if process.pid is not None:
                process.terminate()
                process.join()


def _check(exit_codes: Iterable[int | None]) -> None:
    for code in exit_codes:
        if code is not None and code < 0:
            raise MemoryExhausted(
                "a process that writes stories was killed, most likely because memory ran out; run the same "
                "command again, with --workers 1"
            )
        if code:
            raise RunError(
                "a process that writes stories failed, as printed above; a script that asks for several "
                "workers needs an `if __name__ == '__main__':` guard"
            )


def _write_share(
    model: str, device: str, requests: list[Request], how: tuple[Sampling, bool, bool], results: Any
) -> None:
    follow_parent()
    try:
        for story in write_stories(open_model(model, device), requests, *how):
            results.put(story)
        results.put(None)
    except AureliusError as error:
        results.put(error)
