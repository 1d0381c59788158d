"""The plots, and how they are told."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from random import Random

from aurelius.corpus.storyteller import casting
from aurelius.corpus.storyteller.grammar import rule
from aurelius.corpus.storyteller.voice import Choice, Facts, Tale

SHORTEST, LONGEST = 60, 300
PALETTES = 3  # three, since of three an even story always finds one that neither neighbor uses


@dataclass(frozen=True, slots=True)
class Plot:
    """A kind of story: its possible casts, the tables they come from, and the rules that tell it."""

    name: str
    casts: tuple[dict[str, str], ...]
    tables: casting.Tables
    rules: dict[str, Choice]


@cache
def plots() -> tuple[Plot, ...]:
    """Return every plot, sorted by name, read from the package's files on the first call."""
    here = files(__package__ or "aurelius.corpus.storyteller")
    lexicon = tomllib.loads((here / "lexicon.toml").read_text("ascii"))
    common = tomllib.loads((here / "common.toml").read_text("ascii"))
    sources = sorted(
        (f for f in (here / "plots").iterdir() if f.name.endswith(".toml")), key=lambda f: f.name
    )
    tables = {name: casting.table(text) for name, text in lexicon.items()}
    return tuple(_plot(f.name[:-5], tomllib.loads(f.read_text("ascii")), tables, common) for f in sources)


def _plot(name: str, data: dict, tables: casting.Tables, common: dict) -> Plot:
    own = tables | {key: casting.table(text) for key, text in data.get("tables", {}).items()}
    texts = common["rules"] | common["shared"] | data["rules"]
    rules: dict[str, Choice] = dict.fromkeys(texts, Choice((), False, False, True))
    for key, text in texts.items():
        shared = key in common["shared"] and key not in data["rules"]
        rules[key] = rule(text, rules, PALETTES if shared else 1)
    # Roles are cast in order: the common ones first, unless the plot says where they come.
    casts = tuple({k: v for k, v in common["cast"].items() if k not in cast} | cast for cast in data["cast"])
    return Plot(name, casts, own, rules)


def _draw(seed: int, index: int) -> tuple[int, int]:
    digest = blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4]), int.from_bytes(digest[4:])


def plot_and_palette(seed: int, index: int) -> tuple[int, int]:
    """Choose the plot and the palette of a story, both different from those of its neighbors.

    Stories with an odd index draw freely; the others draw from what their two neighbors leave. So every story
    can be told without the ones before it, and neighbors have neither a plot nor a shared sentence in common.

    Returns:
        The number of the plot and the palette, each as frequent as any other.
    """
    plot, palette = _draw(seed, index)
    if index % 2:
        return plot % len(plots()), palette % PALETTES
    before, after = _draw(seed, index - 1), _draw(seed, index + 1)
    return (
        _other_than(len(plots()), plot, before[0], after[0]),
        _other_than(PALETTES, palette, before[1], after[1]),
    )


def _other_than(count: int, number: int, before: int, after: int) -> int:
    left = [at for at in range(count) if at not in (before % count, after % count)]
    return left[number % len(left)]


def compose(seed: int, index: int) -> Tale:
    """Compose one story.

    Args:
        seed: which series.
        index: which story of it.

    Returns:
        The finished tale, with its text, plot, cast and the alternatives it used.
    """
    # random() is the only method whose sequence Python guarantees.
    roll = Random(f"{seed}/{index}").random
    number, palette = plot_and_palette(seed, index)
    plot = plots()[number]
    while True:
        cast = casting.enlist(plot.casts[int(roll() * len(plot.casts))], plot.tables, roll)
        if cast is not None:
            tale = narrate(plot, cast, roll, palette)
            if SHORTEST <= len(tale.text.split()) <= LONGEST:
                return tale


def narrate(plot: Plot, cast: dict[str, Facts], roll: Callable[[], float], palette: int) -> Tale:
    """Tell a plot with a cast.

    Args:
        plot: what happens.
        cast: to whom and with what.
        roll: the dice, each a float in [0, 1).
        palette: which part of the shared sentences to use.

    Returns:
        The finished tale, of any length.
    """
    tale = Tale(plot.name, cast, roll, 1.1 * roll(), palette)
    told = plot.rules["story"].say(tale)
    tale.text = "\n".join(filter(None, (" ".join(part.split()) for part in told.split("/"))))
    return tale
