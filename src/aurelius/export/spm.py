"""Our tokenizer as an SPM vocabulary: what llama.cpp uses, and SentencePiece's ``tokenizer.model``.

Both merge the pair with the highest score first, so a token's score is minus its id: merges then apply in the
order in which they were learned. A space is written as ``▁``. Neither has our normalizer, so the space that
ends a text must be typed.

Source of the format: https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
"""

import json
import struct
from enum import IntEnum
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from aurelius.export.gguf import NO_NORMALIZER
from aurelius.special_tokens import BOS, BYTE_TOKENS, EOS, OURS, SINK, SPECIAL_TOKENS, UNK
from aurelius.tokenizer.suffix_bpe import SPLITS

NO_ID = 2**64 - 1  # -1, as protocol buffers write it
BPE = 2  # model_type of TrainerSpec


class Kind(IntEnum):
    """What a piece is; the numbers are the same in SentencePiece and in GGUF."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    BYTE = 6


SPECIAL = {UNK: Kind.UNKNOWN, BOS: Kind.CONTROL, EOS: Kind.CONTROL, SINK: Kind.CONTROL}


class Piece(NamedTuple):
    """One token of the vocabulary."""

    text: bytes
    score: float
    kind: Kind


def is_ours(tokenizer: Tokenizer) -> bool:
    """Whether Aurelius made a tokenizer: a BPE with byte tokens and our four special tokens, no others."""
    rules = json.loads(tokenizer.to_str())
    special = tuple(token["content"] for token in sorted(rules["added_tokens"], key=lambda t: t["id"]))
    return special == SPECIAL_TOKENS and _has_bytes(rules["model"])


def problem(tokenizer: Tokenizer) -> str:
    """Say why a tokenizer has no equivalent SPM vocabulary; "" if it has one."""
    rules = json.loads(tokenizer.to_str())
    if not _has_bytes(rules["model"]):
        return "has no byte tokens; a GGUF needs them to spell any text"
    if not is_ours(tokenizer):
        return "is not a tokenizer that Aurelius made; it cannot be written as GGUF"
    if tokenizer.encode("").ids != OURS.prefix:
        return "does not begin texts with `<sink> <s>`; it cannot be written as GGUF"
    if (rules["pre_tokenizer"] or {}).get("pattern", {}).get("Regex") not in SPLITS.values():
        return "does not split texts as those that Aurelius trains; it cannot be written as GGUF"
    normalizers = (rules["normalizer"] or {}).get("normalizers", [])
    if any(rule.get("pattern", {}).get("Regex") == "$" for rule in normalizers):
        return f"has the reference normalizer, {NO_NORMALIZER}"
    return ""


def _has_bytes(model: dict[str, Any]) -> bool:
    return (
        model["type"] == "BPE"
        and bool(model.get("byte_fallback"))
        and set(BYTE_TOKENS) <= set(model["vocab"])
    )


def pieces(tokenizer: Tokenizer) -> list[Piece]:
    """Return the vocabulary in the order of the ids."""
    found = []
    for token in range(tokenizer.get_vocab_size()):
        text = tokenizer.id_to_token(token) or ""
        kind = Kind.BYTE if text in BYTE_TOKENS else SPECIAL.get(token, Kind.NORMAL)
        found.append(Piece(text.replace(" ", "▁").encode(), -float(token), kind))
    return found


def sentencepiece_model(tokenizer: Tokenizer) -> bytes:
    """Return the vocabulary as a SentencePiece model file, which llama.cpp's converter prefers."""
    vocabulary = pieces(tokenizer)
    trainer = {
        3: BPE,
        4: len(vocabulary),
        24: True,  # treat_whitespace_as_suffix
        35: True,  # byte_fallback
        40: UNK,
        41: BOS,
        42: EOS,
        43: NO_ID,  # of padding
        45: SPECIAL_TOKENS[UNK].encode(),
        46: SPECIAL_TOKENS[BOS].encode(),
        47: SPECIAL_TOKENS[EOS].encode(),
    }
    normalizer = {
        1: b"identity",
        3: False,  # add_dummy_prefix
        4: False,  # remove_extra_whitespaces
        5: True,  # escape_whitespaces
    }
    listed = [_field(1, _message({1: p.text, 2: p.score, 3: p.kind})) for p in vocabulary]
    return b"".join(listed) + _message({2: _message(trainer), 3: _message(normalizer)})


def _message(fields: dict[int, Any]) -> bytes:
    return b"".join(_field(number, value) for number, value in fields.items())


def _field(number: int, value: int | float | bytes) -> bytes:
    """Encode one field (https://protobuf.dev/programming-guides/encoding)."""
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    return _varint(number << 3) + _varint(int(value))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
