"""The SPM vocabulary, read back by the rules of the format; SentencePiece itself is in tests/parity."""

import struct
from collections import defaultdict
from pathlib import Path

import pytest

from aurelius.config.settings import TokenizerSettings
from aurelius.export import spm
from aurelius.tokenizer.load import load
from aurelius.tokenizer.suffix_bpe import train

Fields = dict[int, list[int | float | bytes]]


def varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (content[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if content[at - 1] < 128:
            return value, at


def fields(content: bytes) -> Fields:
    """Read a message of varints, floats and byte strings."""
    found: Fields = defaultdict(list)
    at = 0
    while at < len(content):
        key, at = varint(content, at)
        if key & 7 == 0:
            value, at = varint(content, at)
        elif key & 7 == 5:
            value, at = struct.unpack("<f", content[at : at + 4])[0], at + 4
        else:
            length, at = varint(content, at)
            value, at = content[at : at + length], at + length
        found[key >> 3].append(value)
    return found


def test_every_token_is_a_piece(tiny_run: Path):
    tokenizer = load(tiny_run / "tokenizer/tokenizer.json")
    content = (tiny_run / "export/huggingface/tokenizer.model").read_bytes()
    model = fields(content)
    assert content == spm.sentencepiece_model(tokenizer)
    listed = [fields(piece) for piece in model[1] if isinstance(piece, bytes)]
    assert len(listed) == tokenizer.get_vocab_size()
    for token, piece in enumerate(listed):
        text = (tokenizer.id_to_token(token) or "").replace(" ", "▁")
        assert (piece[1], piece[2]) == ([text.encode()], [-token])
    kinds = [piece[3][0] for piece in listed]
    assert kinds[:5] == [3, 3, 2, 3, 6] and kinds.count(6) == 256 and set(kinds[260:]) == {1}
    trainer, normalizer = (fields(value) for value in (*model[2], *model[3]) if isinstance(value, bytes))
    assert [trainer[n] for n in (3, 4, 35, 40, 41, 42)] == [[2], [len(listed)], [1], [2], [0], [1]]
    assert [normalizer[n] for n in (3, 4, 5)] == [[0], [0], [1]]


@pytest.mark.parametrize(
    ("normalizer", "words"), [("portable", ""), ("reference", "the reference normalizer")]
)
def test_what_has_no_equivalent_is_named(normalizer, words: str):
    stories = [
        f"One day a {word} cat sat on a mat and saw the moon." for word in ("red", "big", "sad", "old")
    ]
    settings = TokenizerSettings(vocab_size=290, max_characters=30, normalizer=normalizer)
    tokenizer = train(stories * 5, settings)
    assert spm.is_ours(tokenizer)
    assert words in spm.problem(tokenizer) and bool(words) == bool(spm.problem(tokenizer))


def test_a_tokenizer_from_elsewhere_is_not_ours(stories260k: Path):
    tokenizer = load(stories260k / "tokenizer.json")
    assert not spm.is_ours(tokenizer) and spm.problem(tokenizer)
