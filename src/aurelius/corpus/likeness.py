"""Are stories like TinyStories? Only then do its scale and its scaling law say anything about them."""

from collections.abc import Iterable, Mapping
from typing import Any

LOOKED_AT = 400  # stories are enough
# The most frequent words of TinyStories.
FREQUENT = """the to and a was he she it they her his in that said with so day not i you of but had on big
all for is were time one very them be happy him little there at what who from play up my can did named went
do saw wanted like then friends out have lily we too back mom would are no could tim when asked
loved"""
LIKE_TINYSTORIES = 0.45  # share of words that are among them: 0.52 to 0.54 in TinyStories, 0.34 in a licence


def like_tinystories(texts: Iterable[str]) -> bool:
    """Whether stories use the words of TinyStories about as often as those do."""
    known = set(FREQUENT.split())
    words = [word.strip('.,!?"') for text in texts for word in text.lower().split()]
    return sum(word in known for word in words) >= LIKE_TINYSTORIES * max(1, len(words))


def on_scale(corpus_report: Mapping[str, Any], texts: Iterable[str]) -> bool:
    """Whether the scale of TinyStories holds for a corpus; the storyteller's stories are far easier."""
    return corpus_report["source"] != "storyteller" and like_tinystories(texts)
