"""Stage 2: the suffix-space tokenizer, as one stock ``tokenizer.json``, the same file that is published."""

from pathlib import Path

from tokenizers import Tokenizer

from aurelius import corpus
from aurelius.artifacts import write_bytes
from aurelius.errors import RunError, TokenizerError
from aurelius.progress import SILENT, Progress
from aurelius.recipe import Recipe
from aurelius.tokenizer.suffix_bpe import train


def build(recipe: Recipe, corpus_folder: Path, out: Path, progress: Progress = SILENT) -> None:
    """Train the tokenizer on the training stories and write ``out/tokenizer.json``.

    Args:
        recipe: its ``[tokenizer]`` section is read.
        corpus_folder: a corpus folder.
        out: the folder to write.
        progress: told the stories read.

    Raises:
        TokenizerError: the stories hold too few different words for the vocabulary.
    """
    texts = corpus.Texts(corpus_folder, "train", most=recipe.tokenizer.stories)
    tokenizer = train(texts, recipe.tokenizer, progress)
    write_bytes(out / "tokenizer.json", tokenizer.to_str(pretty=True).encode())


def load(path: Path) -> Tokenizer:
    """Load a ``tokenizer.json`` such that special tokens typed in a text are text.

    Raises:
        RunError: the file is missing.
        TokenizerError: it is damaged.
    """
    if not path.is_file():
        raise RunError(f"{path} is missing")
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises a bare Exception
        raise TokenizerError(f"{path} is not a tokenizer: {error}") from None
    # Not part of the file: without it a typed "</s>" would become token 1 and part the text around it.
    tokenizer.encode_special_tokens = True
    return tokenizer


def check_text(text: str) -> str:
    """Return ``text`` if it can be encoded.

    Raises:
        TokenizerError: it holds half of a surrogate pair, which is not a character.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"character {error.start} of the text is half of a surrogate pair ({text[error.start]!r}), "
            "which no UTF-8 text holds; remove it"
        ) from None
    return text
