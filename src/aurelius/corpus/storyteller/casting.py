"""Casting: the tables of the lexicon, and choosing from them who and what is in a story."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from aurelius.corpus.storyteller.grammar import template
from aurelius.corpus.storyteller.voice import Facts

HE = {"he": "he", "him": "him", "his": "his", "himself": "himself"}
SHE = {"he": "she", "him": "her", "his": "her", "himself": "herself"}
ONE = {"it": "it", "them": "it", "was": "was"}
PAIR = {"it": "they", "them": "them", "was": "were"}


@dataclass(slots=True)
class Row:
    """One kind of person, place or thing.

    Attributes:
        cells: the choices in each column.
        kind: what it is.
        tags: what templates and other rows may ask about it.
        fixed: the facts that are the same in every story.
        varied: the columns that have several choices, with the choices.
    """

    cells: dict[str, tuple[str, ...]]
    kind: str = ""
    tags: frozenset[str] = frozenset()
    fixed: Facts = field(default_factory=dict)
    varied: list[tuple[str, list[Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Prepare everything that does not depend on the story."""
        self.kind = self.cells.get("kind", ("",))[0]
        self.tags = frozenset(self.cells.get("tags", ("",))[0].split())
        for key, choices in self.cells.items():
            values = [template(text) if "{" in text or "[" in text else text for text in choices]
            if len(values) == 1:
                self.fixed[key] = values[0]
            else:
                self.varied.append((key, values))
        self.fixed["tags"] = self.tags
        if "sex" not in self.cells:
            self.fixed |= PAIR if "pair" in self.tags else ONE


Tables = dict[str, list[Row]]


def table(text: str) -> list[Row]:
    """Read a table.

    Args:
        text: lines of cells separated by ` | `, the first with the names of the columns; `;` separates the
            choices in a cell.

    Returns:
        The rows; ValueError if one has too many or too few cells.
    """
    head, *lines = [re.split(r"\s+\|\s*", line.strip()) for line in text.strip().splitlines()]
    return [
        Row(
            {
                key: tuple(choice.strip() for choice in cell.split(";"))
                for key, cell in zip(head, line, strict=True)
            }
        )
        for line in lines
    ]


def article(noun: str) -> str:
    """Return the noun with "a" or "an" before it."""
    silent = noun.startswith(("hour", "honest"))
    voiced = noun[0] in "aeiou" and not noun.startswith(("uni", "use", "one", "eu"))
    return ("an " if silent or voiced else "a ") + noun


def names(tables: Tables, named: str, sex: str) -> tuple[str, ...]:
    """Return the possible names of somebody; `named` is "child" or "pet", `sex` is "f" or "m"."""
    return tables["names"][0].cells[f"{named}_{sex}"]


def enlist(wants: dict[str, str], tables: Tables, roll: Callable[[], float]) -> dict[str, Facts] | None:
    """Cast a story.

    Args:
        wants: what to look for, by role: `table`, or several separated by spaces; `table+tag` and `table-tag`
            use only rows with or without the tag; in place of a tag, `role.key` stands for the tag that this
            fact of an earlier role names ("any" is no condition); `table@role.key` uses the row of the kind
            that the fact names.
        tables: the lexicon.
        roll: the dice, each a float in [0, 1).

    Returns:
        The facts by role; no two have the same name or, except children, are of the same kind. None if
        nothing is left for a role; KeyError for an unknown table, role or fact.
    """
    cast: dict[str, Facts] = {}
    taken: set[str] = set()
    for role, want in wants.items():
        query = want
        if " " in want:
            queries = want.split()
            query = queries[int(roll() * len(queries))]
        pool = tables[query] if query in tables else _pool(query, tables, cast)
        rows = [row for row in pool if row.kind not in taken]
        if not rows:
            return None
        facts = cast[role] = _facts(rows[int(roll() * len(rows))], tables, taken, roll)
        taken.add(facts["name"])
        if "human" not in facts["tags"]:
            taken.add(facts["kind"])
        if role == "friend":
            facts["first"] = f"{cast['hero']['his']} friend {facts['name']}"
    return cast


def _pool(query: str, tables: Tables, cast: dict[str, Facts]) -> list[Row]:
    group, link, conditions = _parse(query)
    if link:
        role, key = link
        return [row for row in tables[group] if row.kind == cast[role][key]]
    wanted: set[str] = set()
    unwanted: set[str] = set()
    for sign, tag, key in conditions:
        (wanted if sign == "+" else unwanted).add(cast[tag][key] if key else tag)
    wanted.discard("any")
    full = "+".join([group, *sorted(wanted)]) + "".join(f"-{tag}" for tag in sorted(unwanted))
    if full not in tables:
        tables[full] = [row for row in tables[group] if wanted <= row.tags and not unwanted & row.tags]
    return tables[full]


@cache
def _parse(query: str) -> tuple[str, tuple[str, str] | None, tuple[tuple[str, str, str], ...]]:
    group, _, link = query.partition("@")
    if link:
        role, _, key = link.partition(".")
        return group, (role, key), ()
    group, *conditions = re.split(r"(?=[+-])", query)
    parsed = []
    for condition in conditions:
        tag, _, key = condition[1:].partition(".")
        parsed.append((condition[0], tag, key))
    return group, None, tuple(parsed)


def _facts(row: Row, tables: Tables, taken: Iterable[str], roll: Callable[[], float]) -> Facts:
    facts = row.fixed.copy()
    for key, values in row.varied:
        facts[key] = values[int(roll() * len(values))]
    kind, adj = row.kind, facts.get("adj")
    full = f"{adj} {kind}" if adj else kind
    if "sex" in facts:
        sex = facts["sex"]
        facts |= HE if sex == "m" else SHE
        if named := facts.get("named"):
            facts["name"] = _free_name(names(tables, named, sex), taken, roll)
        elif "name" not in facts:
            facts["name"] = f"the {kind}"
            facts["first"] = article(full)
    elif "name" not in facts:
        facts["name"] = kind
    facts.setdefault("the", f"the {full}")
    if "a" not in facts:
        facts["a"] = f"a pair of {full}" if "pair" in row.tags else article(full)
    return facts


def _free_name(pool: tuple[str, ...], taken: Iterable[str], roll: Callable[[], float]) -> str:
    while True:
        name = pool[int(roll() * len(pool))]
        if name not in taken:
            return name
