r"""Suffix-space byte-pair encoding from stock `tokenizers` components: a word carries its trailing space.

"once upon" becomes ``once␣`` and ``upon␣``, so the first token a model generates after a prompt starts a new
word, as in training. A text is first normalised to end in exactly one space; ids are ``<s>`` 0, ``</s>`` 1,
``<unk>`` 2, ``<sink>`` 3, then 256 byte tokens (ordinary entries, so that decoding keeps them), then
characters, then merges (Sennrich et al. 2016, arXiv 1508.07909).

The patterns below mean the same in Oniguruma (Python) and in JavaScript, which ``\s`` and ``$`` do not:
``\s`` differs on U+0085, U+FEFF and U+001C to U+001F, so whitespace is written out.
"""

import json
import sys
from collections.abc import Collection, Iterable
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from aurelius.config.settings import TokenizerSettings
from aurelius.errors import TokenizerError
from aurelius.progress import SILENT, Progress
from aurelius.special_tokens import (
    BOS,
    BYTE_TOKENS,
    EOS,
    PREFIXES,
    SINK,
    SPECIAL_TOKENS,
)

SPACE = r"\u0009-\u000D\u001C-\u001F\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000\uFEFF"
WORD = r"\p{L}\p{M}\p{N}'"
END = r"(?![\s\S])"  # the end of the text in every engine; `$` and `\z` are not

NORMALIZERS = {
    # The lookbehind lets only the start of a run of whitespace match, which keeps long runs linear.
    "portable": (
        (rf"(?<![{SPACE}])[{SPACE}]+{END}", ""),
        (rf"(?<=[^{SPACE}]){END}", " "),
    ),
    # The reference card's, verbatim. In Oniguruma `$` also matches before each newline, so
    # "a\n\nb" becomes "a \nb ".
    "reference": (("$", " "), (r"\s\s+$", " ")),
}
SPLITS = {
    "separate": rf"[{WORD}]+[{SPACE}]*|[^{WORD}{SPACE}]+[{SPACE}]*|[{SPACE}]+",
    "glued": rf"[^{SPACE}]+[{SPACE}]*|[{SPACE}]+",
}


def train(texts: Collection[str], recipe: TokenizerSettings, progress: Progress = SILENT) -> Tokenizer:
    """Train a tokenizer; the same texts, in any order, and recipe give the same tokenizer.

    The texts are read twice and never held in memory together.

    Raises:
        TokenizerError: the texts hold too few different words for ``recipe.vocab_size``.
    """
    trainer = trainer_of(texts, recipe)
    draft = Tokenizer(models.BPE())
    draft.normalizer = normalizer(recipe)
    draft.pre_tokenizer = split(recipe)
    with progress.task("tokenizer: counting words", len(texts), "stories") as task:

        def counted():
            for text in texts:
                task.advance()
                yield text

        draft.train_from_iterator(counted(), trainer, len(texts))
    found = draft.get_vocab_size()
    if found < recipe.vocab_size:
        raise TokenizerError(
            f"these {len(texts):,} stories give a vocabulary of {found} tokens, not the "
            f"{recipe.vocab_size} of tokenizer.vocab_size: add stories, or set it to at most {found}"
        )
    return assemble(draft, recipe)


def trainer_of(texts: Iterable[str], recipe: TokenizerSettings) -> trainers.BpeTrainer:
    """Return what learns the merges, given the characters that are frequent in the texts."""
    characters = alphabet(texts, recipe.max_characters)
    return trainers.BpeTrainer(
        vocab_size=recipe.vocab_size,
        special_tokens=[*SPECIAL_TOKENS, *BYTE_TOKENS],
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        min_frequency=2,
        show_progress=False,
    )


def alphabet(texts: Iterable[str], size: int) -> list[str]:
    """Return the ``size`` most frequent characters, the space among them, ties in Unicode order.

    They are chosen here because the trainer's own limit breaks ties differently each time.
    """
    counts = count_characters(texts)
    counts[ord(" ")] += 1
    ranked = np.argsort(-counts, kind="stable")[:size]
    return [chr(code) for code in ranked if counts[code]]


def count_characters(texts: Iterable[str]) -> NDArray[np.int64]:
    """Return how often each character occurs, by its code point."""
    counts = np.zeros(sys.maxunicode + 1, np.int64)
    texts = iter(texts)
    while joined := "".join(islice(texts, 5000)):
        codes = np.frombuffer(joined.encode("utf-32-le"), "<u4")
        counts += np.bincount(codes, minlength=len(counts))
    return counts


def assemble(draft: Tokenizer, recipe: TokenizerSettings) -> Tokenizer:
    """Build the published tokenizer around a trained vocabulary.

    The trainer treats all its "special tokens" as special; here only the four are, and bytes are ordinary.
    """
    model = json.loads(draft.to_str())["model"]
    bpe = models.BPE(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],
        unk_token="<unk>",
        byte_fallback=True,
    )
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizer(recipe)
    tokenizer.pre_tokenizer = split(recipe)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    prefix = [SPECIAL_TOKENS[i] for i in PREFIXES[recipe.prefix].prefix]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[*prefix, "$A"],
        pair=[*prefix, "$A", "</s>", "$B:1"],
        special_tokens=[("<s>", BOS), ("</s>", EOS), ("<sink>", SINK)],
    )
    tokenizer.encode_special_tokens = True
    return tokenizer


def normalizer(recipe: TokenizerSettings) -> normalizers.Normalizer:
    """Return the normalizer that makes a text end as the recipe says."""
    rules = NORMALIZERS[recipe.normalizer]
    return normalizers.Sequence([normalizers.Replace(Regex(pattern), text) for pattern, text in rules])


def split(recipe: TokenizerSettings) -> pre_tokenizers.PreTokenizer:
    """Return the pre-tokenizer that splits a text into words."""
    return pre_tokenizers.Split(Regex(SPLITS[recipe.split]), "isolated")
