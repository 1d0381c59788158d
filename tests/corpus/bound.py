"""A lower bound on how many different stories there are.

Only stories that a reader can tell apart from left to right are counted. Take one cast and keep everything
in it but the names of hero and friend; tell every optional piece, or none; use one palette; and among the
alternatives of a rule keep only such that none begins as another does, whoever was met and mentioned before.
Then two tellings with the same names differ where their choices first differ, and tellings with different
names differ because each says its own names and no others.
"""

import re
from itertools import product, zip_longest

from aurelius.corpus.storyteller.casting import names
from aurelius.corpus.storyteller.teller import LONGEST, PALETTES, SHORTEST, compose, plots
from aurelius.corpus.storyteller.voice import (
    Call,
    Choice,
    Fact,
    Name,
    Option,
    Pronoun,
    Said,
    SpokenName,
    Tale,
    Word,
)

NAMES = "@~"  # stand for the names of the hero and the friend, whatever they are


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
        story = plot.rules["story"]
        for tale.detail, tale.palette in product((0.0, 1.0), range(PALETTES)):
            for option in story.usable(tale):
                ways, fewest, most = _option(option, tale)
                if fewest >= SHORTEST and most <= LONGEST:
                    ways *= heroes * (friends - 1 if _befriends(option, tale) else 1)
                    found[tale.plot] = max(found.get(tale.plot, 0), ways)
    return sum(found.values())


def _names(role: str, tale: Tale, tables: dict) -> int:
    if role not in tale.cast:
        return 0
    facts = tale.cast[role]
    named = "child" if "human" in facts["tags"] else "pet"
    taken = {other["name"] for key, other in tale.cast.items() if key != role}
    return len(set(names(tables, named, "m" if facts["he"] == "he" else "f")) - taken)


def _befriends(part: str | Word | Call | Choice | Option, tale: Tale) -> bool:
    """Return whether every telling says the friend's name; the first mention is always by name."""
    if isinstance(part, Name | Said | SpokenName):
        return part.role == "friend"
    if isinstance(part, Call):
        return _befriends(part.rules[part.name], tale)
    if isinstance(part, Choice):
        options = part.usable(tale)
        told = bool(options) and (not part.optional or tale.detail > 0)
        return told and all(_befriends(option, tale) for option in options)
    return isinstance(part, Option) and any(_befriends(piece, tale) for piece in part.parts)


def _choice(choice: Choice, tale: Tale) -> tuple[int, int, int]:
    """Return the number of tellings, and the fewest and the most words in one."""
    options = choice.usable(tale)
    if (choice.optional and not tale.detail) or not options:
        return 1, 0, 0
    counts, kept = [], []
    for count, option in sorted(((_option(o, tale), o) for o in options), key=lambda pair: -pair[0][0]):
        heads = [_head(option, tale, *state) for state in _states(tale)]
        if all(_apart(*pair) for other in kept for pair in zip(heads, other, strict=True)):
            counts.append(count)
            kept.append(heads)
    ways, fewest, most = zip(*counts, strict=True)
    return sum(ways), min(fewest), max(most)


def _states(tale: Tale) -> list[tuple[set[str], str | None]]:
    """List what may have been said before: who was met, and whom the last sentence was about."""
    people = [role for role, facts in tale.cast.items() if "he" in facts]
    return [(met, subject) for met in (set(tale.cast), set[str]()) for subject in (None, *people)]


def _option(option: Option, tale: Tale) -> tuple[int, int, int]:
    ways, fewest, most = 1, 0, 0
    for part in option.parts:
        if isinstance(part, Call | Choice):
            count = _choice(part.rules[part.name] if isinstance(part, Call) else part, tale)
        else:
            text = part if isinstance(part, str) else part.say(tale)
            # Pieces may join into one word, so only a word after a space surely adds one. An introduction
            # ("his friend ~") adds two words, a name may become a pronoun, and a pronoun a name.
            sure = len(re.findall(r'\s"?[A-Za-z@~]', text))
            if isinstance(part, Name | SpokenName):
                sure = 0
            elif isinstance(part, Said):
                sure = 1
            elif not isinstance(part, str) and " " not in text:
                sure = 0
            more = 2 * isinstance(part, Name | Said | Fact) + 3 * (isinstance(part, Pronoun) and part.leads)
            count = 1, sure, len(text.split()) + more
        ways, fewest, most = ways * count[0], fewest + count[1], most + count[2]
    return ways, fewest, most


def _head(option: Option, tale: Tale, met: set[str], subject: str | None) -> str:
    tale.met, tale.subject, tale.since = set(met), subject, 0
    tale.latest = {tale.cast[subject]["he"]: subject} if subject else {}
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
