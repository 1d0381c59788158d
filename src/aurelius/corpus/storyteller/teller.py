"""The plots, and how they are told."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random

from aurelius.corpus.storyteller import casting
from aurelius.corpus.storyteller.grammar import Choice, Tale, rule

SHORTEST, LONGEST = 60, 300


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
    texts = common["rules"] | data["rules"]
    rules: dict[str, Choice] = dict.fromkeys(texts, Choice((), False, False, True))
    for key, text in texts.items():
        rules[key] = rule(text, rules)
    return Plot(name, tuple(common["cast"] | cast for cast in data["cast"]), own, rules)


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
    while True:
        plot = plots()[int(roll() * len(plots()))]
        cast = casting.enlist(plot.casts[int(roll() * len(plot.casts))], plot.tables, roll)
        if cast is None:
            continue
        tale = Tale(plot.name, cast, roll, 1.1 * roll())
        told = plot.rules["story"].say(tale)
        tale.text = "\n".join(filter(None, (" ".join(part.split()) for part in told.split("/"))))
        if SHORTEST <= len(tale.text.split()) <= LONGEST:
            return tale
