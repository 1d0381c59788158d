"""The voice of a story: the parts of a template, and how each is said.

Whether somebody is called by name, introduced, or called "he" or "she" depends on what was said before, so a
story in the making, a `Tale`, remembers who was introduced, whom the last sentence was about, and the latest
"he" and the latest "she". A name becomes a pronoun if the sentence before, in the same paragraph, was about
the same person and the pronoun cannot mean anybody else. After two pronouns in a row the name is due again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Facts = dict[str, Any]  # a text, a template, or, for "tags", a set

PRONOUNS_IN_A_ROW = 2


@dataclass(slots=True)
class Tale:
    """A story in the making.

    Attributes:
        plot: the name of its plot.
        cast: the facts by role.
        roll: the dice, each a float in [0, 1).
        detail: the probability that an optional piece is told.
        palette: which part of the shared sentences it uses.
        met: the roles that were introduced.
        used: the alternatives that were told.
        subject: the role that the last sentence was about, if it was about one.
        since: how many pronouns in a row have stood for the subject since its name.
        latest: the role that each pronoun ("he", "she") stood for last.
        text: the finished story.
    """

    plot: str
    cast: dict[str, Facts]
    roll: Callable[[], float]
    detail: float
    palette: int = 0
    met: set[str] = field(default_factory=set)
    used: list[str] = field(default_factory=list)
    subject: str | None = None
    since: int = 0
    latest: dict[str, str] = field(default_factory=dict)
    text: str = ""

    def is_clear(self, role: str, he: str) -> bool:
        """Return whether the pronoun `he` at the start of a sentence can only mean this role."""
        return self.subject == role and self.since < PRONOUNS_IN_A_ROW and self.latest.get(he) == role

    def introduce(self, role: str, facts: Facts) -> str:
        """Return what to call somebody: at first who they are, such as "her friend Ben", then the name."""
        if role in self.met:
            return facts["name"]
        self.met.add(role)
        return _text(facts.get("first", facts["name"]), self)


@dataclass(frozen=True, slots=True)
class Name:
    """Somebody or something by name, or by a pronoun if `is_subject` and the pronoun is clear.

    A name that `leads` is the first in its sentence, so the sentence is about its bearer.
    """

    role: str
    capital: bool
    leads: bool
    is_subject: bool

    def say(self, tale: Tale) -> str:
        """Return the name as it is due here; KeyError if the cast lacks the role."""
        facts = tale.cast[self.role]
        he = facts.get("he")
        if he is None:
            text = facts["name"]
        elif self.is_subject and tale.is_clear(self.role, he):
            tale.since += 1
            text = he
        else:
            text = tale.introduce(self.role, facts)
            tale.latest[he] = self.role
            if self.leads:
                tale.subject, tale.since = self.role, 0
        return text[:1].upper() + text[1:] if self.capital else text


@dataclass(frozen=True, slots=True)
class SpokenName:
    """A name inside a speech: never a pronoun, and no introduction."""

    role: str
    capital: bool

    def say(self, tale: Tale) -> str:
        """Return the name; KeyError if the cast lacks the role."""
        text = tale.cast[self.role]["name"]
        if text.startswith("the "):  # "Go to the owl" introduces the owl; "Go to Miss Rose" does not.
            tale.met.add(self.role)
        return text[:1].upper() + text[1:] if self.capital else text


@dataclass(frozen=True, slots=True)
class Said:
    """Who spoke: "said Mia", or "she said" if the pronoun is clear."""

    verb: str
    role: str

    def say(self, tale: Tale) -> str:
        """Return verb and speaker; KeyError if the cast lacks the role."""
        facts = tale.cast[self.role]
        he = facts["he"]
        if tale.is_clear(self.role, he):
            tale.since += 1
            return f"{he} {self.verb}"
        name = tale.introduce(self.role, facts)
        tale.latest[he] = tale.subject = self.role
        tale.since = 0
        return f"{self.verb} {name}"


@dataclass(frozen=True, slots=True)
class Pronoun:
    """A pronoun that the template asks for; a name where, first in a sentence, it would be unclear."""

    role: str
    key: str
    capital: bool
    leads: bool

    def say(self, tale: Tale) -> str:
        """Return the pronoun; KeyError if the cast lacks the role."""
        facts = tale.cast[self.role]
        text = facts[self.key]
        if self.key == "he":
            if self.leads:
                if tale.latest.get(text, self.role) != self.role:
                    tale.since = 0
                    tale.latest[text] = self.role
                    text = tale.introduce(self.role, facts)
                else:
                    tale.since = tale.since + 1 if tale.subject == self.role else PRONOUNS_IN_A_ROW
                tale.subject = self.role
            else:
                tale.latest[text] = self.role
        return text[:1].upper() + text[1:] if self.capital else text


@dataclass(frozen=True, slots=True)
class Fact:
    """Any other fact of the cast, such as the hero's home."""

    role: str
    key: str
    capital: bool

    def say(self, tale: Tale) -> str:
        """Return the fact as `tale` has it; KeyError if its cast lacks the role or the fact."""
        facts = tale.cast[self.role]
        if self.key == "a" and "he" in facts:
            known = self.role in tale.met and "named" not in facts
            text = facts["name"] if known else _text(facts["a"], tale)
            tale.met.add(self.role)
            tale.latest[facts["he"]] = self.role
        else:
            text = _text(facts[self.key], tale)
        return text[:1].upper() + text[1:] if self.capital else text


@dataclass(frozen=True, slots=True)
class Other:
    """Words about somebody who is not in the cast; the next sentence must not say just "he" or "she"."""

    text: str

    def say(self, tale: Tale) -> str:
        """Return the words."""
        tale.subject = None
        return self.text


@dataclass(frozen=True, slots=True)
class Break:
    """The end of a paragraph; the next one begins with a name."""

    def say(self, tale: Tale) -> str:
        """Return the mark between paragraphs."""
        tale.subject = None
        return "/"


Word = Name | SpokenName | Said | Pronoun | Fact | Other | Break


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
    parts: "tuple[str | Word | Call | Choice, ...]"

    def fits(self, cast: dict[str, Facts]) -> bool:
        """Return whether every guard holds for the cast; a role that is not cast has no tags."""
        for role, tag, wanted in self.guards:
            if (role in cast and tag in cast[role]["tags"]) is not wanted:
                return False
        return True


@dataclass(frozen=True, slots=True)
class Choice:
    """Several ways to say something, perhaps optional.

    Attributes:
        options: the ways.
        optional: whether it may be left out.
        guarded: whether any option has guards.
        named: whether it is a rule, whose choices are recorded.
        palettes: how many parts the options are dealt into, one per palette; 1 if all stories share them.
    """

    options: tuple[Option, ...]
    optional: bool
    guarded: bool
    named: bool
    palettes: int = 1

    def usable(self, tale: Tale) -> tuple[Option, ...] | list[Option]:
        """Return the options that this story may choose from."""
        options = self.options
        if self.palettes > 1:
            options = options[tale.palette :: self.palettes]
        return [option for option in options if option.fits(tale.cast)] if self.guarded else options

    def say(self, tale: Tale) -> str:
        """Return one of them; empty if it is optional and left out, or if nothing fits."""
        if self.optional and tale.roll() >= tale.detail:
            return ""
        options = self.usable(tale) if self.guarded or self.palettes > 1 else self.options
        if not options:
            return ""
        option = options[int(tale.roll() * len(options))]
        if self.named:
            tale.used.append(option.source)
        return "".join([part if isinstance(part, str) else part.say(tale) for part in option.parts])


def _text(value: "str | Choice", tale: Tale) -> str:
    return value if isinstance(value, str) else value.say(tale)
