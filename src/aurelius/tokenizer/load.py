"""Loading a ``tokenizer.json`` in the one way that our corpus, prompts and evaluation need."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from aurelius.errors import RunError, TokenizerError
from aurelius.special_tokens import SpecialTokens


def load(path: Path) -> Tokenizer:
    """Load a ``tokenizer.json``; typed special tokens stay text, and nothing is truncated or padded.

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
    # Not stored in the file: without it a typed "</s>" would become token 1 and split the text around it.
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()  # a published file may ask for it; transformers decides at each call
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
            "which is not valid in UTF-8; remove it"
        ) from None
    return text


def special_tokens_of(config: dict[str, Any], tokenizer: Tokenizer, where: str) -> SpecialTokens:
    """Return the special ids that a model's ``config.json`` names.

    Raises:
        TokenizerError: it names no begin and end token, or several; the message says ``where``.
    """
    ids = {}
    for key in ("bos_token_id", "eos_token_id"):
        value = config.get(key)
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if type(value) is not int or not 0 <= value < tokenizer.get_vocab_size():
            raise TokenizerError(
                f"{where}: config.json has {key} {value!r}; set it to the one id that "
                f"{'begins' if key[0] == 'b' else 'ends'} a story"
            )
        ids[key] = value
    lead, unknown = tokenizer.token_to_id("<sink>"), tokenizer.token_to_id("<unk>")
    begin = ids["bos_token_id"]
    if lead is None:
        lead = begin
    elif lead not in tokenizer.encode("").ids:  # one of ours, trained without it
        lead = None
    return SpecialTokens(begin, ids["eos_token_id"], lead, unknown)


def check_same(own: Path, other: Path) -> None:
    """Refuse to start from the weights of a model with another vocabulary: its embeddings mean other tokens.

    Raises:
        TokenizerError: a token has another id, or only one tokenizer has it.
    """
    ids, others = load(own).get_vocab(), load(other).get_vocab()
    tokens = ids.keys() | others.keys()
    if different := sorted(token for token in tokens if ids.get(token) != others.get(token)):
        raise TokenizerError(
            f"{other} is another tokenizer ({len(different):,} tokens differ, such as {different[0]!r}), "
            f"so training cannot start from its model; set tokenizer.source to {other.parent}, too"
        )
