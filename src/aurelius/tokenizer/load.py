"""Stage 2: the suffix-space tokenizer, as one stock ``tokenizer.json``, the same file that is published."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from aurelius.config.recipe import Recipe
from aurelius.corpus import build as corpus
from aurelius.errors import RunError, TokenizerError
from aurelius.files import read_json, write_bytes
from aurelius.progress import SILENT, Progress
from aurelius.special_tokens import Special
from aurelius.tokenizer.suffix_bpe import train


def build(recipe: Recipe, corpus_folder: Path, out: Path, progress: Progress = SILENT) -> list[Path]:
    """Train the tokenizer on the training stories, or take one that is given; write ``out/tokenizer.json``.

    Args:
        recipe: its ``[tokenizer]`` section is read.
        corpus_folder: a corpus folder.
        out: the folder to write.
        progress: told the stories read.

    Returns:
        The files of the user's that were read.

    Raises:
        TokenizerError: the stories hold too few different words for the vocabulary; a given tokenizer has
            another size, or no begin and end.
        RunError: a given file is missing.
    """
    if recipe.tokenizer.source:
        return _take(Path(recipe.tokenizer.source), recipe.tokenizer.vocab_size, out)
    texts = corpus.Texts(corpus_folder, "train", most=recipe.tokenizer.stories)
    tokenizer = train(texts, recipe.tokenizer, progress)
    write_bytes(out / "tokenizer.json", tokenizer.to_str(pretty=True).encode())
    Special().write(out)
    return []


def _take(source: Path, vocab_size: int, out: Path) -> list[Path]:
    """Copy the tokenizer of a Hugging Face folder, with the ids its configuration names."""
    file, config = source / "tokenizer.json", read_json(source / "config.json")
    tokenizer = load(file)
    if (found := tokenizer.get_vocab_size()) != vocab_size:
        raise TokenizerError(f"{file} has {found} tokens, not the {vocab_size} of tokenizer.vocab_size")
    write_bytes(out / "tokenizer.json", file.read_bytes())
    special_of(config, tokenizer, str(source)).write(out)
    return [file, source / "config.json"]


def special_of(config: dict[str, Any], tokenizer: Tokenizer, where: str) -> Special:
    """Return the special ids that a model's configuration names.

    Raises:
        TokenizerError: it names no begin and end token, or several; the message says ``where``.
    """
    found = {}
    for key in ("bos_token_id", "eos_token_id"):
        given = config.get(key)
        given = given[0] if isinstance(given, list) and len(given) == 1 else given
        if type(given) is not int or not 0 <= given < tokenizer.get_vocab_size():
            raise TokenizerError(
                f"{where}: config.json has {key} {given!r}; write the one id there that "
                f"{'begins' if key[0] == 'b' else 'ends'} a story"
            )
        found[key] = given
    lead, unknown = tokenizer.token_to_id("<sink>"), tokenizer.token_to_id("<unk>")
    begin = found["bos_token_id"]
    return Special(begin, found["eos_token_id"], begin if lead is None else lead, unknown)


def load(path: Path) -> Tokenizer:
    """Load a ``tokenizer.json`` such that typed special tokens are text, and no text is cut or padded.

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
    tokenizer.no_truncation()  # a published file may ask for it; transformers decides anew at each call
    tokenizer.no_padding()
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
