"""Cleaning: what is repaired in a story, and which stories are dropped; each step has a name and is optional.

Training on changed text only helps if the text that is measured and prompted is changed in the same way. So
the default repairs what is broken and drops what is not a story, but leaves the author's quotes and
paragraphs alone; those steps are for people who want a smaller alphabet.
"""

import re
import unicodedata
from collections.abc import Callable, Collection

from aurelius.config.settings import CleaningStep, CorpusSettings

# A closing quote whose last byte, undefined in Windows-1252, was lost.
LOST_QUOTE = re.compile(r"â€(?=[\s!#-~]|\Z)")
# UTF-8 that was read as Windows-1252, beyond repair.
BROKEN = re.compile("\ufffd|â€|Ã[\x80-\xbf©¨´]|Â[\xa0£]")
REMOVED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\ufeff]"
)
SPACES = re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
LINE_ENDS = re.compile("\r\n?|[\x85\u2028\u2029]")
PARAGRAPHS = re.compile(r"[ \t]*\n\s*")
QUOTES = str.maketrans(
    dict.fromkeys("“”„‟«»", '"') | dict.fromkeys("‘’‚‛´`", "'") | {"…": "..."} | dict.fromkeys("–—―", "-")
)
# Most words of any English text are among a few; these make up about two fifths of a children's story.
COMMON = frozenset(
    b"the and to a was he she it they in of his her said with on for you so i that but had were is at not "
    b"very up as them all be there him then out one day when have we my went their can from what do this by "
    b"no are if me like too who into saw did back could would down how will your some".split()
)
MIN_COMMON = 0.15  # share of common words
MIN_LETTERS = 0.7  # share of letters and spaces; bytes beyond ASCII count as letters
SPACED = bytes(c if chr(c).isalnum() or c >= 128 else 32 for c in range(256))
KNOWN = bytes(c for c in range(256) if c >= 128 or chr(c).isalpha() or chr(c).isspace())
PLAIN = bytes([9, 10, *range(32, 127)])
# What only occurs in prompts, tables of contents, code and answers of assistants.
NOT_IN_STORIES = ("http://", "https://", "www.", "</", "```", "As an AI", "language model", "<|")
HEADINGS = ("Summary:", "Features:", "Words:", "Random sentence:", "Story:", "Instructions:", "Title:")
# Before the first letter of a story: quotes, brackets, asterisks, symbols and emoji.
OPENING = re.compile(r"""[^\w]*""")
# What may follow the last sentence, and what ends one in some script.
CLOSING = re.compile(r"""[\s"'”’»›)\]*_~}」』]*$""")
ENDS = frozenset(".!?…。！？؟۔।॥።։")
THE_END = re.compile(r"""[\s"”’](?:THE END|The End|the end)[.!]?$""")


def _mojibake(text: str) -> str:
    """Undo UTF-8 that was read as another encoding."""
    import ftfy

    return ftfy.fix_encoding(LOST_QUOTE.sub("”", text))


def _characters(text: str) -> str:
    """Compose accents (NFC), remove control and zero-width characters, make every space a plain one."""
    return SPACES.sub(" ", REMOVED.sub("", unicodedata.normalize("NFC", text)))


def _quotes(text: str) -> str:
    """Replace typographic quotes, dashes and ellipses by those on a keyboard."""
    return text.translate(QUOTES)


def _paragraphs(text: str) -> str:
    """Separate paragraphs by one newline, without spaces before it."""
    return PARAGRAPHS.sub("\n", text)


REPAIRS: dict[str, Callable[[str], str]] = {
    "mojibake": _mojibake,
    "characters": _characters,
    "quotes": _quotes,
    "paragraphs": _paragraphs,
}


IN_PLAIN_ASCII = ("quotes", "paragraphs")  # repairs that apply to plain ASCII, too


def repair(text: str, steps: Collection[CleaningStep]) -> tuple[str, list[str]]:
    r"""Return a story as it will be kept, and the names of the repairs that changed it.

    Line ends always become ``\n`` and outer whitespace is removed; that is not counted.
    """
    changed = []
    plain = text.isascii() and not text.encode().translate(None, PLAIN)
    if not plain:
        text = LINE_ENDS.sub("\n", text)
    text = text.strip()
    for name in REPAIRS:
        if (
            name in steps
            and (name in IN_PLAIN_ASCII or not plain)
            and (better := REPAIRS[name](text)) != text
        ):
            text = better.strip()
            changed.append(name)
    return text, changed


def words_of(text: str) -> list[bytes]:
    """Return a text's words in lower case, without punctuation; apostrophes are left out."""
    text = text.lower() if text.isascii() else text.lower().translate(QUOTES)
    return text.encode().translate(SPACED, b"'").split()


def drop_reason(text: str, words: list[bytes], recipe: CorpusSettings) -> str | None:
    """Say why a repaired story is dropped, or None if it is kept; ``words`` is its `words_of`."""
    if not words:
        return "empty"
    if len(words) < recipe.min_words:
        return f"under {recipe.min_words} words"
    if len(words) > recipe.max_words:
        return f"over {recipe.max_words} words"
    steps = recipe.clean
    if "mojibake" in steps and not text.isascii() and BROKEN.search(text):
        return "mojibake beyond repair"
    if "story" in steps and not _looks_like_story(text):
        return "not a story"
    if "english" in steps and sum(map(COMMON.__contains__, words)) < MIN_COMMON * len(words):
        return "not English"
    if "cut" in steps:
        if not _has_beginning(text):
            return "truncated at the beginning"
        if not _has_end(text):
            return "truncated at the end"
    return None


def _has_beginning(text: str) -> bool:
    """Whether a text begins with a capital, a digit, or a letter of a script without capitals."""
    at = OPENING.match(text)
    first = text[at.end() : at.end() + 1] if at else ""
    return not first or not first.islower()


def _has_end(text: str) -> bool:
    """Whether a text ends with the end of a sentence, a symbol such as an emoji, or "The End"."""
    last = CLOSING.sub("", text[-40:])[-1:]
    if not last or last in ENDS or THE_END.search(text, max(0, len(text) - 40)):
        return True
    # Symbols, and what joins or varies emoji; not the marks and letters of words, nor commas and dashes.
    return unicodedata.category(last) in ("So", "Sk", "Cf", "Mn") and not last.isascii()


def _looks_like_story(text: str) -> bool:
    """Whether a text looks like a story rather than a prompt, a table or code."""
    if any(mark in text for mark in NOT_IN_STORIES):
        return False
    if any(text.startswith(mark) or f"\n{mark}" in text for mark in HEADINGS):
        return False
    characters = text.encode()
    return len(characters.translate(None, KNOWN)) <= (1 - MIN_LETTERS) * len(characters)
