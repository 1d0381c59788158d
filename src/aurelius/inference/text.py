"""The text of a story while its ids grow, and where to cut it."""

import re

from aurelius.inference.draft import Draft
from aurelius.inference.language_model import LanguageModel

INCOMPLETE = "\ufffd"  # what the first bytes of a character decode to
SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)]*(?=\s)")
LAST_STRETCH = 48  # tokens before the limit, in which text appears sentence by sentence
CONTEXT = 8  # ids before the new ones that are decoded with them


class Text:
    """What a draft adds to its prompt.

    Whitespace at the end is left out: it is no part of the story until something follows. A story that its
    limit cuts ends with a sentence, if one ends just before the limit, and never within a word.
    """

    def __init__(self, model: LanguageModel, draft: Draft):
        self.model, self.draft = model, draft
        self.first = self.read = len(draft.ids)
        self.before = max(0, self.read - CONTEXT)
        spelt = model.decode(draft.ids) if draft.ids else ""
        self.opening = not draft.prompt.text.strip()  # no space comes before the first word
        self.rest = (
            spelt.lstrip() if self.opening else spelt[len(draft.prompt.text.rstrip()) :]
        )  # not shown yet
        self.last_stretch = draft.most - min(LAST_STRETCH, draft.limit // 4)
        self.sentence = False  # whether one has ended in the last stretch

    def whole(self) -> str:
        """Return all of a draft that is done."""
        beginning = self.update(self.last_stretch, done=False) if not self.draft.ended else ""
        return beginning + self.update(len(self.draft.ids), done=True)

    def update(self, length: int, done: bool) -> str:
        """Read the draft's first ``length`` ids; return what can now be shown that could not before."""
        self._read(length, done)
        if done and self.draft.ended:
            return self._show(len(self.rest.rstrip(INCOMPLETE).rstrip()))
        words = len(re.sub(r"\S+\Z", "", self.rest).rstrip())  # whole ones: the last may go on, or be cut
        if length <= self.last_stretch and not done:
            return self._show(words)
        rest = self.rest + " " if done else self.rest  # until then, a quotation mark may follow the stop
        if ends := [found.end() for found in SENTENCE_END.finditer(rest)]:
            self.sentence = True
            return self._show(ends[-1])
        return self._show(words) if done and not self.sentence else ""

    def _read(self, length: int, done: bool) -> None:
        # Decoded together with those before, because some decoders treat the first id otherwise. Not by the
        # `DecodeStream` of tokenizers, which raises on bytes that are not UTF-8: a model may write such.
        ids = self.draft.ids
        known, text = (self.model.decode(ids[self.before : end]) for end in (self.read, length))
        if not text.endswith(INCOMPLETE) or done:
            self.rest += text[len(known) :]
            self.read = length
            self.before = max(self.before, self.read - CONTEXT)
        if self.opening:
            self.rest = self.rest.lstrip()
            self.opening = not self.rest

    def _show(self, end: int) -> str:
        new, self.rest = self.rest[:end], self.rest[end:]
        return new
