"""What separates the stories of a text: end marks, rules, blank lines, lines, or nothing.

A mark such as ``<|endoftext|>`` separates wherever it stands. Without one, what the layout suggests is used,
in this order: lines of dashes or asterisks, two or more blank lines if single ones occur too, blank lines,
single lines if they are long enough to be stories, the whole file. A short file that is one of several is a
story, unless it has marks or rules.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median

from aurelius.corpus.readers import reader
from aurelius.corpus.readers.reader import END_MARKS, MARK, START_MARKS
from aurelius.errors import CorpusError

RULE = re.compile(r"\s*(?:-{3,}|={3,}|\*{3,}|(?:\* ){2,}\*|#{3,}|~{3,})\s*")
WORDS_OF_A_STORY = 20  # at the median, for lines to be stories; and most of them end a sentence
SAMPLED_LINES = 10_000  # whose lengths and ends are looked at
ONE_STORY = 20_000  # characters; a longer file is not taken for a single story
KEYWORDS = ("auto", "line", "blank", "file")


@dataclass(frozen=True)
class Separator:
    """How a text is split, and how to say so. ``kind`` is mark, rule, blanks, blank, line or file."""

    kind: str
    mark: str = ""
    start: str = ""  # a mark at the beginning of stories, which is removed
    quoted: bool = False  # each line is in quotes

    def __str__(self) -> str:
        return {
            "mark": f"split at {self.mark}",
            "rule": "split at lines of dashes or asterisks",
            "blanks": "split at two or more blank lines",
            "blank": "split at blank lines",
            "line": "one quoted story per line" if self.quoted else "one story per line",
            "file": "one story per file",
        }[self.kind]

    def split(self, lines: Iterable[str], name: str) -> Iterator[str]:
        """Yield the stories of a text's lines; empty ones only between two marks.

        Raises:
            CorpusError: a story is longer than `MAX_BYTES`.
        """
        if self.kind == "line":
            yield from (self._unquoted(line.strip()) for line in lines if line.strip())
            return
        story: list[str] = []
        size = blank_lines = 0
        for number, line in enumerate(lines, 1):
            if self.kind == "mark":
                *finished, line = (
                    line.replace(self.start, "").split(self.mark) if self.start else line.split(self.mark)
                )
                for part in finished:
                    yield "".join([*story, part]).strip("\r\n")
                    story, size = [], 0
            elif self._is_boundary(line, blank_lines):
                if text := "".join(story).strip("\r\n"):
                    yield text
                story, size = [], 0
                line = ""
            blank_lines = 0 if line.strip() else blank_lines + 1
            story.append(line)
            size += len(line.encode())
            if size > reader.MAX_BYTES:
                raise CorpusError(
                    f"{name}: the story that ends after line {number} is longer than "
                    f"{reader.MAX_BYTES >> 20} MiB; are separators such as {END_MARKS[0]} missing?"
                )
        if rest := "".join(story).strip("\r\n"):
            yield rest

    def _is_boundary(self, line: str, blank_lines_before: int) -> bool:
        if self.kind == "rule":
            return RULE.fullmatch(line) is not None
        if self.kind == "blank":
            return not line.strip()
        return self.kind == "blanks" and not line.strip() and blank_lines_before >= 1

    def _unquoted(self, line: str) -> str:
        if not self.quoted:
            return line
        return line[1:-1].replace('""', '"').replace('\\"', '"').replace("\\n", "\n")


def named(separator: str) -> Separator | None:
    """Return the separator that a user names: a keyword, or any text; None for ``auto``."""
    if separator == "auto":
        return None
    if separator in KEYWORDS:
        return Separator(separator)
    return Separator("mark", separator.encode().decode("unicode_escape") if "\\" in separator else separator)


def detect(lines: Iterable[str], one_of_several: bool = False) -> Separator:
    """Find out what separates the stories of a text; reads only up to the first end mark if there is one.

    Args:
        lines: of the text.
        one_of_several: a folder or archive has more such texts, so that this one may be a single story.
    """
    marks: Counter[str] = Counter()
    size = rules = single_blanks = double_blanks = blank_run = 0
    quoted, lengths, complete = True, [], 0
    for line in lines:
        marks.update(MARK.findall(line))
        if any(mark in marks for mark in END_MARKS):
            break
        size += len(line)
        text = line.strip()
        if not text:
            blank_run += 1
            continue
        single_blanks += blank_run == 1
        double_blanks += blank_run > 1
        blank_run = 0
        rules += RULE.fullmatch(line) is not None
        quoted = quoted and len(text) > 1 and text[0] == text[-1] == '"'
        if len(lengths) < SAMPLED_LINES:
            lengths.append(text.count(" ") + 1)
            complete += not (text[-1].isalnum() or text[-1] in ",;:-–—")
    start = next((mark for mark in START_MARKS if marks[mark]), "")
    if end := next((mark for mark in END_MARKS if marks[mark]), ""):
        return Separator("mark", end, start)
    if start:
        return Separator("mark", start)
    if rules:
        return Separator("rule")
    if one_of_several and size <= ONE_STORY:
        return Separator("file")
    if single_blanks and double_blanks:
        return Separator("blanks")
    if single_blanks or double_blanks:
        return Separator("blank")
    long_lines = len(lengths) > 1 and median(lengths) >= WORDS_OF_A_STORY and complete > len(lengths) / 2
    if long_lines or (quoted and len(lengths) > 1):
        return Separator("line", quoted=quoted)
    return Separator("file")
