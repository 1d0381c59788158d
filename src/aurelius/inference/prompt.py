"""A prompt, ready to be continued any number of times."""

from dataclasses import dataclass, field

from aurelius.errors import ModelError
from aurelius.inference.language_model import LanguageModel
from aurelius.inference.prompt_end import Paths


@dataclass(frozen=True)
class Prompt:
    """The ids of a prompt; without its last word where that may be spelt in several ways."""

    ids: list[int]
    text: str  # what the prompt spells
    paths: Paths | None = None
    lengthening: list[int] = field(default_factory=list)  # tokens that may not follow a bare last word

    @classmethod
    def read(
        cls, model: LanguageModel, text: str, parse_special: bool = False, continue_word: bool = False
    ) -> "Prompt":
        """Encode a prompt; if the tokenizer's words carry their trailing space, find how it may end.

        Raises:
            TokenizerError: it is not encodable text.
            ModelError: it is empty and the model has no begin token.
        """
        ids = model.encode(text, parse_special)
        if not model.prefix and not ids:
            raise ModelError(f"{model.name} has no begin token; pass a prompt to continue")
        fits = len(model.prefix) + len(ids) < model.context
        end = model.vocabulary.end_of(text, ids, continue_word) if model.vocabulary and fits else None
        if not model.vocabulary or not end or not (paths := model.vocabulary.paths(model, end)):
            return cls(ids, model.decode(ids) if ids else "")
        text = (model.decode(end.before) if end.before else "") + end.word
        return cls(end.before, text, paths, model.vocabulary.lengthening(end.word) if any(paths.bare) else [])
