"""Who is who in a story like the storyteller's: names that turn up without having been introduced."""

import re
from functools import cache

from aurelius.corpus.storyteller.casting import names
from aurelius.corpus.storyteller.teller import plots

ALSO_WORDS = {"Will"}  # may begin a question
CAPITALISED = re.compile(r"\b[A-Z][a-z]+\b")
INTRODUCTION = re.compile(r"\b(named|called|friend|name was)\s$")


@cache
def all_names() -> frozenset[str]:
    """Return every name that the storyteller gives to children and pets, except those that are words too."""
    tables = plots()[0].tables
    found = {name for named in ("child", "pet") for sex in "fm" for name in names(tables, named, sex)}
    return frozenset(found - ALSO_WORDS)


def not_introduced(story: str) -> list[str]:
    """Return the names in a story, in their order, whose first mention does not introduce them.

    The storyteller introduces everybody: *named Pip*, *called Pip*, *whose name was Pip*, *her friend Pip*,
    or a story that begins with *Pip was*.
    """
    seen, missing = set(), []
    for match in CAPITALISED.finditer(story):
        name = match.group()
        if name not in all_names() or name in seen:
            continue
        seen.add(name)
        opens = match.start() == 0 and story[match.end() :].startswith(" was ")
        if not opens and not INTRODUCTION.search(story[: match.start()]):
            missing.append(name)
    return missing
