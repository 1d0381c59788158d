"""An honest lower bound on how many different stories there are.

Counted are only stories that can be told apart by reading from the left. Take one cast and keep everything
in it but the names of hero and friend; tell every optional piece, or none; and among the alternatives of a
rule keep only such that none begins as another does. Then two tellings with the same names differ at the
very place where they part, and tellings with different names differ since each says its own and no other.
"""

import re
from itertools import product, zip_longest

from aurelius.corpus.storyteller.casting import names
from aurelius.corpus.storyteller.grammar import (
    Call,
    Choice,
    Option,
    Slot,
    Tale,
)
from aurelius.corpus.storyteller.teller import (
    LONGEST,
    SHORTEST,
    compose,
    plots,
)

NAMES = "@~"  # stand for whichever names the hero and the friend have


def at_least(casts: int = 60) -> int:
    """Count stories that are surely distinct.

    Args:
        casts: how many stories to borrow a cast from; for each plot the best one counts.

    Returns:
        The sum over the plots, of which only those count whose every counted story has a legal length.
    """
    found: dict[str, int] = {}
    for index in range(casts):
        tale = compose(0, index)
        plot = next(plot for plot in plots() if plot.name == tale.plot)
        heroes, friends = (_names(role, tale, plot.tables) for role in ("hero", "friend"))
        tale.cast["hero"]["name"] = "@"
        if "friend" in tale.cast:
            tale.cast["friend"] |= {"name": "~", "first": f"{tale.cast['hero']['his']} friend ~"}
        for tale.detail, option in product((0.0, 1.0), plot.rules["story"].options):
            ways, fewest, most = _option(option, tale)
            if fewest >= SHORTEST and most <= LONGEST:
                ways *= heroes * (friends - 1 if _befriends(option, tale) else 1)
                found[tale.plot] = max(found.get(tale.plot, 0), ways)
    return sum(found.values())


def _names(role: str, tale: Tale, tables: dict) -> int:
    if role not in tale.cast:
        return 0
    facts = tale.cast[role]
    row = {"named": ("child" if "human" in facts["tags"] else "pet",)}
    taken = {other["name"] for key, other in tale.cast.items() if key != role}
    return len(set(names(tables, row, "m" if facts["he"] == "he" else "f")) - taken)


def _befriends(part: str | Slot | Call | Choice | Option, tale: Tale) -> bool:
    """Return whether every telling says the friend's name."""
    if isinstance(part, Slot):
        return (part.role, part.key) == ("friend", "name")
    if isinstance(part, Call):
        return _befriends(part.rules[part.name], tale)
    if isinstance(part, Choice):
        options = [option for option in part.options if option.fits(tale.cast)]
        told = bool(options) and (not part.optional or tale.detail > 0)
        return told and all(_befriends(option, tale) for option in options)
    return isinstance(part, Option) and any(_befriends(piece, tale) for piece in part.parts)


def _choice(choice: Choice, tale: Tale) -> tuple[int, int, int]:
    """Return the number of tellings, and the fewest and the most words in one."""
    options = [option for option in choice.options if option.fits(tale.cast)]
    if (choice.optional and not tale.detail) or not options:
        return 1, 0, 0
    counts, kept = [], []
    for count, option in sorted(((_option(o, tale), o) for o in options), key=lambda pair: -pair[0][0]):
        # What was told before decides whether somebody is met here for the first time.
        heads = [_head(option, tale, met) for met in (set(tale.cast), set())]
        if all(_apart(*pair) for other in kept for pair in zip(heads, other, strict=True)):
            counts.append(count)
            kept.append(heads)
    ways, fewest, most = zip(*counts, strict=True)
    return sum(ways), min(fewest), max(most)


def _option(option: Option, tale: Tale) -> tuple[int, int, int]:
    ways, fewest, most = 1, 0, 0
    for part in option.parts:
        if isinstance(part, Slot | str):
            text = part if isinstance(part, str) else part.say(tale)
            # Pieces may join into one word, so only a word after a space surely adds one; a first mention
            # adds two words at most.
            count = (
                1,
                len(re.findall(r'\s"?[A-Za-z@~]', text)),
                len(text.split()) + 2 * isinstance(part, Slot),
            )
            if isinstance(part, Slot) and not text.count(" "):
                count = 1, 0, count[2]
        else:
            count = _choice(part.rules[part.name] if isinstance(part, Call) else part, tale)
        ways, fewest, most = ways * count[0], fewest + count[1], most + count[2]
    return ways, fewest, most


def _head(option: Option, tale: Tale, met: set[str]) -> str:
    tale.met = set(met)
    head = ""
    for part in option.parts:
        if isinstance(part, Call | Choice):
            break
        head += part if isinstance(part, str) else part.say(tale)
    return " ".join(head.split())


def _apart(one: str, other: str) -> bool:
    """Return whether the heads differ before either ends, whatever the names."""
    for at, (a, b) in enumerate(zip_longest(one, other, fillvalue="")):
        if a != b:
            rest = other[at:] if a in NAMES else one[at:]
            plain = a not in NAMES and b not in NAMES
            return bool(a and b) and (plain or bool(re.match(r"[A-Za-z]+[^A-Za-z]", rest)))
    return False
