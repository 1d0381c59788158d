"""The template language of the stories.

A template is plain text with four kinds of marks:

    {hero} {hero.his} {He}   a fact of the cast; a pronoun alone is the hero's; a capital makes a capital
    {setup}                  a rule: replaced by one of its alternatives (one per line)
    [big|small|old]          one of the options; a leading `?` makes it optional: [?very ]
    <friend.human !day.wet>  at the start of an alternative or option: only if these tags (do not) apply

A slash separates two paragraphs.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

PRONOUNS = ("he", "him", "his", "himself")

Facts = dict[str, Any]  # a text, a template, or, for "tags", a set


@dataclass(slots=True)
class Tale:
    """A story in the making: cast, dice, level of detail, who was introduced, what was used."""

    plot: str
    cast: dict[str, Facts]
    roll: Callable[[], float]
    detail: float
    met: set[str] = field(default_factory=set)
    used: list[str] = field(default_factory=list)
    text: str = ""


@dataclass(frozen=True, slots=True)
class Slot:
    """A fact of the cast, e.g. the hero's name."""

    role: str
    key: str
    capital: bool

    def say(self, tale: Tale) -> str:
        """Return the fact as `tale` has it; KeyError if its cast lacks the role or the fact."""
        facts = tale.cast[self.role]
        value = facts[self.key]
        if self.key in ("name", "a") and self.role not in tale.met:
            tale.met.add(self.role)
            value = facts.get("first", value) if self.key == "name" else value
        text = value if isinstance(value, str) else value.say(tale) if isinstance(value, Choice) else ""
        return text[:1].upper() + text[1:] if self.capital else text


@dataclass(frozen=True, slots=True)
class Call:
    """A rule called by name."""

    name: str
    rules: "dict[str, Choice]"

    def say(self, tale: Tale) -> str:
        """Return one expansion of the rule."""
        return self.rules[self.name].say(tale)


@dataclass(frozen=True, slots=True)
class Option:
    """One way to say something, possible only if its guards hold."""

    source: str
    guards: tuple[tuple[str, str, bool], ...]
    parts: "tuple[str | Slot | Call | Choice, ...]"

    def fits(self, cast: dict[str, Facts]) -> bool:
        """Return whether every guard holds for the cast; a role that is not cast has no tags."""
        return all((tag in cast.get(role, {}).get("tags", ())) is wanted for role, tag, wanted in self.guards)


@dataclass(frozen=True, slots=True)
class Choice:
    """Several ways to say something, perhaps optional."""

    options: tuple[Option, ...]
    optional: bool
    guarded: bool
    named: bool

    def say(self, tale: Tale) -> str:
        """Return one of them; empty if it is optional and left out, or if nothing fits."""
        if self.optional and tale.roll() >= tale.detail:
            return ""
        options = self.options
        if self.guarded:
            options = [option for option in options if option.fits(tale.cast)]
            if not options:
                return ""
        option = options[int(tale.roll() * len(options))]
        if self.named:
            tale.used.append(option.source)
        return "".join([part if isinstance(part, str) else part.say(tale) for part in option.parts])


def rule(text: str, rules: dict[str, Choice]) -> Choice:
    """Parse a rule.

    Args:
        text: its alternatives, one per line; empty lines do not count.
        rules: the rules that it may call, complete before it is expanded.

    Returns:
        The rule; ValueError if brackets do not match.
    """
    return _choice([line.strip() for line in text.splitlines() if line.strip()], rules, named=True)


@cache
def template(text: str) -> Choice:
    """Parse one template that names no rules; ValueError if brackets do not match."""
    return _choice([text], {}, named=False)


def _choice(texts: list[str], rules: dict[str, Choice], *, named: bool, optional: bool = False) -> Choice:
    options = tuple(_option(text, rules) for text in texts)
    return Choice(options, optional, any(option.guards for option in options), named)


def _option(text: str, rules: dict[str, Choice]) -> Option:
    guards = []
    if match := re.match(r"<([^>]*)> ?", text):
        for guard in match[1].split():
            role, tag = guard.lstrip("!").split(".")
            guards.append((role, tag, not guard.startswith("!")))
    parts: list[str | Slot | Call | Choice] = []
    at = match.end() if match else 0
    while at < len(text):
        if text[at] == "{":
            end = text.index("}", at)
            parts.append(_mark(text[at + 1 : end], rules))
        elif text[at] == "[":
            end = _close(text, at)
            inner = text[at + 1 : end].removeprefix("?")
            parts.append(_choice(_split(inner), rules, named=False, optional=text[at + 1] == "?"))
        elif text[at] in "}]":
            raise ValueError(f"unmatched {text[at]} in {text!r}")
        else:
            end = at
            while end + 1 < len(text) and text[end + 1] not in "{}[]":
                end += 1
            parts.append(text[at : end + 1])
        at = end + 1
    return Option(text, tuple(guards), tuple(parts))


def _mark(name: str, rules: dict[str, Choice]) -> Slot | Call:
    low = name[0].lower() + name[1:]
    if name in rules:
        return Call(name, rules)
    role, _, key = low.partition(".")
    if low in PRONOUNS:
        role, key = "hero", low
    return Slot(role, key or "name", name[0].isupper())


def _close(text: str, at: int) -> int:
    depth = 0
    for end in range(at, len(text)):
        depth += {"[": 1, "]": -1}.get(text[end], 0)
        if not depth:
            return end
    raise ValueError(f"unmatched [ in {text!r}")


def _split(text: str) -> list[str]:
    depth, options = 0, [""]
    for char in text:
        depth += {"[": 1, "]": -1}.get(char, 0)
        if char == "|" and not depth:
            options.append("")
        else:
            options[-1] += char
    return options
