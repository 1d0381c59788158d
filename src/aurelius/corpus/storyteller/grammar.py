"""The template language of the stories, and its parser.

A template is plain text with four kinds of marks:

    {hero} {hero.his} {He}   a fact of the cast; a pronoun alone is the hero's; a capital makes a capital
    {setup}                  a rule: replaced by one of its alternatives (one per line)
    [big|small|old]          one of the options; a leading `?` makes it optional: [?very ]
    <friend.human !day.wet>  at the start of an alternative or option: only if these tags (do not) apply

A slash separates two paragraphs. Templates write names freely; which of them become pronouns is decided when
the story is told (see `voice`). The parser finds out, from the words around a name, whether a pronoun could
take its place: `{Hero} sat down.`, `"Hello," said {hero}.`, `Then {hero} sat down.`
"""

import re
from functools import cache

from aurelius.corpus.storyteller.voice import (
    Break,
    Call,
    Choice,
    Fact,
    Name,
    Option,
    Other,
    Pronoun,
    Said,
    SpokenName,
    Word,
)

PRONOUNS = ("he", "him", "his", "himself")

SPEECH = re.compile(r'" (said|asked|called|cried|shouted|whispered|thought|begged|sighed|wondered) $')
# What may stand before the subject of a sentence and still leave room for a pronoun.
LINK = re.compile(r"(Then|So|But|And|And so|Now|Soon|At last|In the end|After a while|To make up for it,) $")
# People who have no role in the cast.
OTHERS = re.compile(
    r"\b(mother|boy|girl|man|child|shopkeeper|winner|crow|they|everybody|others|somebody|"
    r"(?:said|asked|cried) (?:the|everybody))\b",
    re.IGNORECASE,
)

STRANGERS = ("mother", "who")  # facts that name people who have no role


def rule(text: str, rules: dict[str, Choice], palettes: int = 1) -> Choice:
    """Parse a rule.

    Args:
        text: its alternatives, one per line; empty lines do not count.
        rules: the rules that it may call, complete before it is expanded.
        palettes: how many parts the alternatives are dealt into; a story uses one part.

    Returns:
        The rule; ValueError if brackets do not match or there are fewer alternatives than parts.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) < palettes:
        raise ValueError(f"{len(lines)} alternatives cannot be dealt into {palettes} parts: {text!r}")
    return _choice(lines, rules, named=True, palettes=palettes)


@cache
def template(text: str) -> Choice:
    """Parse one template that names no rules; ValueError if brackets do not match."""
    return _choice([text], {}, named=False)


def _choice(
    texts: list[str],
    rules: dict[str, Choice],
    *,
    named: bool,
    optional: bool = False,
    palettes: int = 1,
    quoted: bool = False,
) -> Choice:
    options = tuple(_Parser(text, rules, quoted).option() for text in texts)
    return Choice(options, optional, any(option.guards for option in options), named, palettes)


class _Parser:
    """Parses one option from left to right."""

    def __init__(self, text: str, rules: dict[str, Choice], quoted: bool) -> None:
        self.text = text
        self.rules = rules
        self.parts: list[str | Word | Call | Choice] = []
        self.quoted = quoted  # whether somebody is speaking
        self.closed = False  # whether a speech has just ended
        self.sentence = ""  # the sentence so far, without speech
        self.led = False  # whether somebody was mentioned in it

    def option(self) -> Option:
        text, guards = self.text, []
        match = re.match(r"<([^>]*)> ?", text)
        if match:
            for guard in match[1].split():
                role, tag = guard.lstrip("!").split(".")
                guards.append((role, tag, not guard.startswith("!")))
        at = match.end() if match else 0
        self.led = text[at : at + 2].lstrip('"{[?')[:1].islower()  # it begins in the middle of a sentence
        while at < len(text):
            if text[at] == "{":
                end = text.index("}", at)
                self._mark(text[at + 1 : end], text[end + 1 :])
            elif text[at] == "[":
                end = _close(text, at)
                inner = text[at + 1 : end]
                texts = _split(inner.removeprefix("?"))
                optional = inner.startswith("?")
                self.parts.append(
                    _choice(texts, self.rules, named=False, optional=optional, quoted=self.quoted)
                )
                self.sentence += "..."
            elif text[at] in "}]":
                raise ValueError(f"unmatched {text[at]} in {text!r}")
            else:
                end = at
                while end + 1 < len(text) and text[end + 1] not in "{}[]":
                    end += 1
                self._literal(text[at : end + 1])
            at = end + 1
        return Option(text, tuple(guards), tuple(self.parts))

    def _literal(self, text: str) -> None:
        for piece in re.split(r"(/)", text):
            if piece == "/":
                self.parts.append(Break())
                self.sentence, self.led, self.closed = "", False, False
            elif piece:
                self.parts.append(Other(piece) if OTHERS.search(self._read(piece)) else piece)
                self.led = self.led or bool(OTHERS.search(self.sentence))

    def _read(self, text: str) -> str:
        """Follow quotes and sentences through a literal; return what is not spoken."""
        narrated = ""
        for char in text:
            if char == '"':
                self.quoted = not self.quoted
                self.closed = not self.quoted
                if self.closed:
                    self.sentence, self.led = "", False
            elif not self.quoted:
                narrated += char
                self.sentence += char
                if char in ".!?:":
                    self.sentence, self.led, self.closed = "", False, False
        return narrated

    def _mark(self, mark: str, after: str) -> None:
        if mark in self.rules:
            self.parts.append(Call(mark, self.rules))
            self.sentence, self.led = "", False
            return
        low, capital = mark[0].lower() + mark[1:], mark[0].isupper()
        role, _, key = low.partition(".")
        if low in PRONOUNS:
            role, key = "hero", low
        if key in PRONOUNS:
            leads = key == "he" and not self.quoted and not self.led
            self.parts.append(Pronoun(role, key, capital, leads))
        elif key in ("", "name"):
            self._name(role, capital, after)
        else:
            self.parts.append(Fact(role, key, capital))
            if key in STRANGERS:
                self.parts.append(Other(""))
        if key in ("", "name", "he", *STRANGERS) and not self.quoted:
            self.led = True
        self.sentence += "..."

    def _name(self, role: str, capital: bool, after: str) -> None:
        if self.quoted:
            self.parts.append(SpokenName(role, capital))
            return
        before = self.parts[-1] if self.parts else ""
        relative = after.startswith(", who")
        if isinstance(before, str) and not capital and not relative and (match := SPEECH.search(before)):
            self.parts[-1] = before[: match.start(1)]
            self.parts.append(Said(match[1], role))
            return
        sentence = self.sentence.lstrip()
        starts = capital or self.closed if not sentence else bool(LINK.fullmatch(sentence))
        leads = not self.led and not after.startswith(("'", " and {"))
        self.parts.append(Name(role, capital, leads, leads and starts and not relative))


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
