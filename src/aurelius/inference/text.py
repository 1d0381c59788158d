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
        self.raw = model.decode(draft.ids) if draft.ids else ""
        self.opening = not self.raw.strip()  # no space comes before the first word
        self.shown = 0 if self.opening else len(self.raw.rstrip())
        self.last_stretch = draft.most - min(LAST_STRETCH, draft.limit // 4)
        self.sentence = False  # whether one has ended in the last stretch

    def whole(self) -> str:
        """Return all of a draft that is done."""
        beginning = self.update(self.last_stretch, done=False) if not self.draft.ended else ""
        return beginning + self.update(len(self.draft.ids), done=True)

    def update(self, length: int, done: bool) -> str:
        """Read the draft's first ``length`` ids; return what can now be shown that could not before."""
        self._read(self.draft.ids[:length], done)
        if (done and self.draft.ended) or (length <= self.last_stretch and not done):
            return self._show(len(self.raw.rstrip(INCOMPLETE).rstrip()))
        raw = self.raw + " " if done else self.raw  # until then, a quotation mark may follow the stop
        if ends := [found.end() for found in SENTENCE_END.finditer(raw, self.shown)]:
            self.sentence = True
            return self._show(ends[-1])
        return self._show(len(re.sub(r"\S+\Z", "", self.raw).rstrip())) if done and not self.sentence else ""

    def _read(self, ids: list[int], done: bool) -> None:
        # Decoded together with those before, because some decoders treat the first id otherwise. Not by the
        # `DecodeStream` of tokenizers, which raises on bytes that are not UTF-8: a model may write such.
        known, text = (self.model.decode(ids[self.before : end]) for end in (self.read, len(ids)))
        if not text.endswith(INCOMPLETE) or done:
            self.raw += text[len(known) :]
            self.read = len(ids)
            self.before = max(self.before, self.read - CONTEXT)
        if self.opening:
            self.raw = self.raw.lstrip()
            self.opening = not self.raw

    def _show(self, end: int) -> str:
        new = self.raw[self.shown : end]
        self.shown = max(self.shown, end)
        return new
