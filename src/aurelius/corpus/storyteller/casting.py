"""Casting: the tables of the lexicon, and choosing from them who and what is in a story."""

import re
from collections.abc import Callable

from aurelius.corpus.storyteller.grammar import Facts, template

Row = dict[str, tuple[str, ...]]
Tables = dict[str, list[Row]]

HE = {"he": "he", "him": "him", "his": "his", "himself": "himself"}
SHE = {"he": "she", "him": "her", "his": "her", "himself": "herself"}
ONE = {"it": "it", "them": "it", "its": "its", "was": "was", "is": "is", "this": "this", "one": "one"}
PAIR = {
    "it": "they",
    "them": "them",
    "its": "their",
    "was": "were",
    "is": "are",
    "this": "these",
    "one": "pair",
}


def table(text: str) -> list[Row]:
    """Read a table.

    Args:
        text: lines of cells separated by ` | `, the first with the names of the columns; `;` separates a
        cell's
            choices.

    Returns:
        The rows, each a map from column to choices; ValueError if a row has too many or too few cells.
    """
    head, *lines = [re.split(r"\s+\|\s*", line.strip()) for line in text.strip().splitlines()]
    return [
        {
            key: tuple(choice.strip() for choice in cell.split(";"))
            for key, cell in zip(head, line, strict=True)
        }
        for line in lines
    ]


def article(noun: str) -> str:
    """Return the noun with "a" or "an" before it."""
    silent = noun.startswith(("hour", "honest"))
    voiced = noun[0] in "aeiou" and not noun.startswith(("uni", "use", "one", "eu"))
    return ("an " if silent or voiced else "a ") + noun


def names(tables: Tables, row: Row, sex: str) -> tuple[str, ...]:
    """Return the possible names for somebody of this row and sex; none if the row has no names."""
    return tables["names"][0][f"{row['named'][0]}_{sex}"] if row.get("named", ("",))[0] else ()


def enlist(wants: dict[str, str], tables: Tables, roll: Callable[[], float]) -> dict[str, Facts] | None:
    """Cast a story.

    Args:
        wants: what to look for, by role: `table`, or several separated by spaces; `table+tag` and `table-tag`
            use only rows with or without the tag; `table@role.key` uses the row of the kind it names.
        tables: the lexicon.
        roll: the dice, each a float in [0, 1).

    Returns:
        The facts by role; no two have the same name or, except children, are of the same kind. None if
        nothing is left for a role; KeyError for an unknown table.
    """
    cast: dict[str, Facts] = {}
    for role, want in wants.items():
        queries = want.split()
        query = queries[int(roll() * len(queries))]
        taken = [facts["name"] for facts in cast.values()]
        taken += [facts["kind"] for facts in cast.values() if "human" not in facts["tags"]]
        rows = [row for row in _pool(query, tables, cast) if row["kind"][0] not in taken]
        if not rows:
            return None
        facts = cast[role] = _facts(rows[int(roll() * len(rows))], tables, taken, roll)
        if role == "friend":
            facts["first"] = f"{cast['hero']['his']} friend {facts['name']}"
    return cast


def _pool(query: str, tables: Tables, cast: dict[str, Facts]) -> list[Row]:
    group, _, link = query.partition("@")
    if link:
        role, _, key = link.partition(".")
        return [row for row in tables[group] if row["kind"][0] == cast[role][key]]
    if query not in tables:
        group, *conditions = re.split(r"(?=[+-])", query)
        tables[query] = [
            row
            for row in tables[group]
            if all((mark[1:] in row["tags"][0].split()) is (mark[0] == "+") for mark in conditions)
        ]
    return tables[query]


def _facts(row: Row, tables: Tables, taken: list, roll: Callable[[], float]) -> Facts:
    facts: Facts = {}
    for key, choices in row.items():
        text = choices[int(roll() * len(choices))]
        facts[key] = template(text) if "{" in text or "[" in text else text
    kind, adj, tags = str(facts["kind"]), facts.get("adj"), frozenset(row["tags"][0].split())
    facts["tags"] = tags
    full = f"{adj} {kind}" if adj else kind
    if "sex" in row:
        sex = str(facts["sex"])
        facts.update(HE if sex == "m" else SHE)
        if open_names := [name for name in names(tables, row, sex) if name not in taken]:
            facts["name"] = open_names[int(roll() * len(open_names))]
        if "name" not in facts:
            facts |= {"name": f"the {kind}", "first": article(full)}
    else:
        facts.update(PAIR if "pair" in tags else ONE)
        facts.setdefault("name", kind)
    facts.setdefault("the", f"the {full}")
    facts["plain"] = facts["name"]
    facts.setdefault("a", f"a pair of {full}" if "pair" in tags else article(full))
    return facts
