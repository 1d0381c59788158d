"""A story as a model writes it."""

from collections.abc import Iterator
from typing import Any

from aurelius.config.settings import GenerationSettings as Sampling
from aurelius.inference.draft import Draft, write
from aurelius.inference.language_model import LanguageModel
from aurelius.inference.prompt import Prompt
from aurelius.inference.sampling import changed, checked_seed
from aurelius.inference.text import Text


class Story(Iterator[str]):
    """A story, piece by piece as it is written.

    ``prompt.rstrip()`` and the pieces joined are the story: no special token, no space before the first word
    after an empty prompt or after the last word. One that a limit cuts ends with a sentence, if one ends just
    before the limit, and never within a word.

    Attributes:
        seed: gives the same story again.
        text: the prompt and what has been written so far.
        tokens: how many the model has written.
        ended: whether the model ended the story itself; False until then, and if a limit cut it.
    """

    def __init__(self, text: Text, prompt: str, steps: Iterator[None]):
        """Take a draft's text, the prompt as it was typed, and an iterator that writes a token a step."""
        self.seed, self.text, self.tokens, self.ended = text.draft.seed, prompt.rstrip(), 0, False
        self._pieces = self._write(text, steps)

    def __next__(self) -> str:
        piece = next(self._pieces)
        self.text += piece
        return piece

    def finish(self) -> "Story":
        """Write the rest."""
        for _ in self:
            pass
        return self

    def _write(self, text: Text, steps: Iterator[None]) -> Iterator[str]:
        for _ in steps:
            length, draft = len(text.draft.ids), text.draft
            self.tokens, self.ended = length - text.first, draft.ended
            if piece := text.update(length, draft.done):
                yield piece


def generate(
    model: LanguageModel,
    prompt: str = "",
    sampling: Sampling | None = None,
    seed: int | None = None,
    parse_special: bool = False,
    continue_word: bool = False,
    **changes: Any,
) -> Story:
    """Return a story that begins with ``prompt``, an iterator over its pieces.

    The last word of the prompt is complete, and what follows it is open. A story that outgrows the context
    continues from its last half, after the model's prefix.

    Args:
        model: see `open_model`.
        prompt: the beginning; may be empty.
        sampling: temperature, min-p, top-k, top-p and the maximum of new tokens; the model's own by default.
        seed: the same seed, model and settings give the same story; None draws one.
        parse_special: special tokens typed in the prompt, such as ``</s>``, are tokens instead of text.
        continue_word: the last word of the prompt may go on.
        changes: single values of the sampling, such as ``temperature=1``.

    Raises:
        RecipeError: a value of the sampling is unknown or impossible.
        TokenizerError: the prompt is not encodable text.
        ModelError: the prompt is empty and the model has no begin token, or it leaves no room in the context.
    """
    sampling = changed(sampling or model.sampling, changes)
    opened = Prompt.read(model, prompt, parse_special, continue_word)
    draft = Draft(model, opened, sampling, checked_seed(seed))
    return Story(Text(model, draft), prompt, write(draft))
