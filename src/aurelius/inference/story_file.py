"""Stories in a JSON Lines file that is complete or absent; an interrupted one is continued.

Until all stories are there, they are in ``FILE.partial``: a line of settings, then a line for each story in
the order in which they were finished.
"""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from aurelius.errors import RunError
from aurelius.files import atomic, sync
from aurelius.inference.batch import Written
from aurelius.progress import SILENT, Progress


def write_story_file(
    out: Path,
    settings: dict[str, Any],
    total: int,
    stories: Callable[[set[int]], Iterable[Written]],
    progress: Progress = SILENT,
) -> list[Written]:
    """Write ``out``, a JSON object a line with prompt, seed, text, tokens and ended.

    Args:
        out: the file; it must not exist.
        settings: what decides the stories; an interrupted file is continued with the same ones only.
        total: how many stories there will be.
        stories: called with the numbers of the stories that are there already; yields the others.
        progress: reports the stories written.

    Returns:
        All stories, by number.

    Raises:
        RunError: ``out`` exists, or an interrupted file has other settings or is damaged.
    """
    if out.exists():
        raise RunError(f"{out} exists already; choose another name, or delete it")
    partial = out.with_name(out.name + ".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{partial}.lock", timeout=0)
    try:
        with lock:
            return _write(out, partial, settings, total, stories, progress)
    except Timeout:
        raise RunError(f"another process is writing {out}; wait for it, or choose another name") from None
    finally:
        if not lock.is_locked:
            Path(lock.lock_file).unlink(missing_ok=True)


def _write(
    out: Path,
    partial: Path,
    settings: dict[str, Any],
    total: int,
    stories: Callable[[set[int]], Iterable[Written]],
    progress: Progress,
) -> list[Written]:
    written = _read(partial, settings) if partial.exists() else {}
    with partial.open("a", encoding="utf-8") as file:
        if not file.tell():
            file.write(json.dumps(settings) + "\n")
        with progress.task("writing stories", total, "stories", len(written)) as task:
            for story in stories(set(written)):
                file.write(json.dumps(asdict(story), ensure_ascii=False) + "\n")
                file.flush()
                written[story.number] = story
                task.advance()
    in_order = [written[number] for number in sorted(written)]
    with atomic(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for story in in_order:
            values = {key: value for key, value in asdict(story).items() if key != "number"}
            file.write(json.dumps(values, ensure_ascii=False) + "\n")
    partial.unlink()
    sync(out.parent)
    return in_order


def _read(partial: Path, settings: dict[str, Any]) -> dict[int, Written]:
    """Read an interrupted file; a line that was cut off is removed from it."""
    content = partial.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(partial, len(whole))
    if not whole:
        return {}
    lines = whole.decode(errors="replace").rstrip("\n").split("\n")
    try:
        before = json.loads(lines[0])
        stories = [Written(**json.loads(line)) for line in lines[1:]]
        different = [key for key in settings if before.get(key) != settings[key]]
    except (ValueError, TypeError, AttributeError) as error:
        raise RunError(f"{partial} is damaged ({error}); delete it to begin again") from None
    if different:
        changes = ", ".join(f"{key} was {before.get(key)!r}, now {settings[key]!r}" for key in different)
        raise RunError(
            f"{partial} was begun with different settings ({changes}); use the same command to continue it, "
            "or delete it to begin again"
        )
    return {story.number: story for story in stories}
