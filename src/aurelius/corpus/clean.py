"""What is mended in a story, and which stories are refused; each step has a name and can be left out.

Training on text that was changed helps only as far as the text that is measured and prompted was changed in
the same way. So the default mends what is broken and refuses what is no story, and leaves the author's quotes
and paragraphs alone; those steps are there for who wants a smaller alphabet.
"""

import re
import unicodedata
from collections.abc import Callable, Collection

from aurelius.config.sections import CleaningStep, CorpusRecipe

LOST = re.compile(
    r"â€(?=[\s!#-~]|\Z)"
)  # a closing quote whose last byte, undefined in Windows-1252, was lost
BROKEN = re.compile(
    "\ufffd|â€|Ã[\x80-\xbf©¨´]|Â[\xa0£]"
)  # UTF-8 that was read as Windows-1252, beyond repair
REMOVED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\ufeff]"
)
SPACES = re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
LINE_ENDS = re.compile("\r\n?|[\x85\u2028\u2029]")
PARAGRAPHS = re.compile(r"[ \t]*\n\s*")
QUOTES = str.maketrans(
    dict.fromkeys("“”„‟«»", '"') | dict.fromkeys("‘’‚‛´`", "'") | {"…": "..."} | dict.fromkeys("–—―", "-")
)
# Most words of any English text are among few; these make up about two fifths of a child's story.
COMMON = frozenset(
    b"the and to a was he she it they in of his her said with on for you so i that but had were is at not "
    b"very up as them all be there him then out one day when have we my went their can from what do this by "
    b"no are if me like too who into saw did back could would down how will your some".split()
)
ENGLISH = 0.15  # the least share of common words
LETTERS = 0.7  # the least share of letters and spaces; bytes beyond ASCII count as letters
SPACED = bytes(c if chr(c).isalnum() or c >= 128 else 32 for c in range(256))
KNOWN = bytes(c for c in range(256) if c >= 128 or chr(c).isalpha() or chr(c).isspace())
PLAIN = bytes([9, 10, *range(32, 127)])
# What only stands in prompts, tables of contents, code and answers of assistants.
NOT_TOLD = ("http://", "https://", "www.", "</", "```", "As an AI", "language model", "<|")
HEADINGS = ("Summary:", "Features:", "Words:", "Random sentence:", "Story:", "Instructions:", "Title:")
OPENING = re.compile(r"""["'“‘(*¡¿-]*\s*[A-Z0-9À-Þ]""")
CLOSING = re.compile(r"""[.!?…][\s"'”’)*»~]*$|[\s"”’](?:THE END|The End|the end)[.!]?$""")


def _mojibake(text: str) -> str:
    """Undo UTF-8 that was read as another encoding."""
    import ftfy

    return ftfy.fix_encoding(LOST.sub("”", text))


def _characters(text: str) -> str:
    """Compose accents (NFC); drop control and zero-width characters; make every space a plain one."""
    return SPACES.sub(" ", REMOVED.sub("", unicodedata.normalize("NFC", text)))


def _quotes(text: str) -> str:
    """Make curly quotes straight, and dashes and dots those of a keyboard."""
    return text.translate(QUOTES)


def _paragraphs(text: str) -> str:
    """Part paragraphs by one newline, with no spaces before it."""
    return PARAGRAPHS.sub("\n", text)


REPAIRS: dict[str, Callable[[str], str]] = {
    "mojibake": _mojibake,
    "characters": _characters,
    "quotes": _quotes,
    "paragraphs": _paragraphs,
}


PLAIN_TOO = ("quotes", "paragraphs")  # repairs that have work in plain ASCII, too


def mend(text: str, steps: Collection[CleaningStep]) -> tuple[str, list[str]]:
    r"""Return a story as it is kept, and the names of the repairs that changed it.

    Line ends become ``\n`` and outer whitespace goes in any case; that is not counted.
    """
    changed = []
    plain = text.isascii() and not text.encode().translate(None, PLAIN)
    if not plain:
        text = LINE_ENDS.sub("\n", text)
    text = text.strip()
    for name in REPAIRS:
        if name in steps and (name in PLAIN_TOO or not plain) and (better := REPAIRS[name](text)) != text:
            text = better.strip()
            changed.append(name)
    return text, changed


def words_of(text: str) -> list[bytes]:
    """Return a text's words in lower case, without punctuation; apostrophes are left out."""
    text = text.lower() if text.isascii() else text.lower().translate(QUOTES)
    return text.encode().translate(SPACED, b"'").split()


def refusal(text: str, words: list[bytes], recipe: CorpusRecipe) -> str | None:
    """Say why a mended story is not kept, ``words`` being its `words_of`; None if it is."""
    if not words:
        return "empty"
    if len(words) < recipe.min_words:
        return f"under {recipe.min_words} words"
    if len(words) > recipe.max_words:
        return f"over {recipe.max_words} words"
    steps = recipe.clean
    if "mojibake" in steps and not text.isascii() and BROKEN.search(text):
        return "mojibake beyond repair"
    if "story" in steps and not _told(text):
        return "not a story"
    if "english" in steps and sum(map(COMMON.__contains__, words)) < ENGLISH * len(words):
        return "not English"
    if "cut" in steps:
        if not OPENING.match(text):
            return "cut at its beginning"
        if not CLOSING.search(text, max(0, len(text) - 40)):
            return "cut at its end"
    return None


def _told(text: str) -> bool:
    """Whether a text looks like a story rather than a prompt, a table or code."""
    if any(mark in text for mark in NOT_TOLD):
        return False
    if any(text.startswith(mark) or f"\n{mark}" in text for mark in HEADINGS):
        return False
    characters = text.encode()
    return len(characters.translate(None, KNOWN)) <= (1 - LETTERS) * len(characters)
