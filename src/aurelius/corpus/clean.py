"""Which stories are kept, and on which side of the split they fall."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from aurelius.progress import Task
from aurelius.sections import CorpusRecipe


@dataclass
class Split:
    """The kept stories, in the source's order, and the count of the dropped ones by reason."""

    train: list[str] = field(default_factory=list)
    valid: list[str] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    read: int = 0


def clean(text: str) -> str:
    r"""Return a story with ``\n`` line ends and no outer whitespace; what stands inside is not touched."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def select(stories: Iterable[str], recipe: CorpusRecipe, task: Task) -> Split:
    """Clean the stories, drop the empty, too short, too long and repeated ones, and split the rest.

    A story's side depends on its own text and the seed alone, so it stays there whatever else is read.
    Where all hashes fall on one side (tiny corpora), the story nearest to the other goes there.
    """
    split = Split()
    seen: set[bytes] = set()
    for story in stories:
        if recipe.stories and len(seen) == recipe.stories:
            break
        split.read += 1
        task.advance()
        text = clean(story)
        reason = _refusal(text, recipe)
        digest = _digest(text)
        if reason is None and digest in seen:
            reason = "repeated word for word"
        if reason is not None:
            split.dropped[reason] += 1
            continue
        seen.add(digest)
        held_out = _fraction(digest, recipe.seed) < recipe.valid_fraction
        (split.valid if held_out else split.train).append(text)
    if not split.valid:
        _lend(split.train, split.valid, min, recipe.seed)
    elif not split.train:
        _lend(split.valid, split.train, max, recipe.seed)
    return split


def _refusal(text: str, recipe: CorpusRecipe) -> str | None:
    words = len(text.split())
    if words == 0:
        return "empty"
    if words < recipe.min_words:
        return f"under {recipe.min_words} words"
    if words > recipe.max_words:
        return f"over {recipe.max_words} words"
    return None


def _lend(full: list[str], empty: list[str], nearest: Callable[..., str], seed: int) -> None:
    """Move one story to the empty side, the one whose hash is nearest to it, if another stays."""
    if len(full) > 1:
        text = nearest(full, key=lambda text: _fraction(_digest(text), seed))
        full.remove(text)
        empty.append(text)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _fraction(digest: bytes, seed: int) -> float:
    """Map a story's digest to [0, 1), evenly and anew for every seed."""
    mixed = hashlib.blake2b(digest, digest_size=8, salt=seed.to_bytes(8, "little")).digest()
    return int.from_bytes(mixed, "little") / 2**64
