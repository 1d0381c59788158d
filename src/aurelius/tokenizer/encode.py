"""Fast encoding of a corpus: words repeat, so each distinct pretoken is encoded once.

The ids are those of `tokenizers`. ASCII text is split by Python's own regular expressions; for any other
character the tokenizer's pre-tokenizer is asked once how it splits, so no two versions of Unicode can
disagree. Plain text, with single spaces and newlines, is split at those alone: no pretoken spans the position
after one, so the pretokens between two of them are looked up together.
"""

import json
import re
from collections.abc import Iterable
from itertools import accumulate, pairwise

import numpy as np
from tokenizers import Tokenizer

from aurelius.errors import TokenizerError
from aurelius.special_tokens import SPECIAL_TOKENS
from aurelius.tokenizer.suffix_bpe import NORMALIZERS, SPLITS

# The splits of `suffix_bpe` for ASCII.
PATTERNS = {
    "separate": re.compile(r"[A-Za-z0-9']+\s*|[^A-Za-z0-9'\s]+\s*|\s+", re.ASCII),
    "glued": re.compile(r"[^\s]+\s*|\s+", re.ASCII),
}
PLAIN = bytes([10, *range(32, 127)])
CACHE_SIZE = 500_000  # pretokens, and chunks, that are remembered


class Encoder:
    """A tokenizer made fast for many texts; ids without special tokens."""

    def __init__(self, tokenizer: Tokenizer):
        """Find out how ``tokenizer`` splits; one that does not split as ours do encodes each text itself.

        Raises:
            TokenizerError: it has more ids than fit in 16 bits.
        """
        rules = json.loads(tokenizer.to_str())
        pattern = ((rules.get("pre_tokenizer") or {}).get("pattern") or {}).get("Regex")
        split = next((name for name, regex in SPLITS.items() if regex == pattern), None)
        normalizers = (rules.get("normalizer") or {}).get("normalizers", [])
        patterns = [rule.get("pattern", {}).get("Regex") for rule in normalizers]
        if patterns not in [[regex for regex, _ in known] for known in NORMALIZERS.values()]:
            split = None
        if len(rules["added_tokens"]) > len(SPECIAL_TOKENS):  # they would be looked for in every text
            split = None
        if tokenizer.get_vocab_size() > 2**16:
            raise TokenizerError(
                f"the tokenizer has {tokenizer.get_vocab_size():,} tokens; "
                "the token store holds at most 65,536"
            )
        self.tokenizer, self.known = tokenizer, split is not None
        if split is None:
            return
        self.portable = patterns == [pattern for pattern, _ in NORMALIZERS["portable"]]
        self.pattern = PATTERNS[split]
        self.stand_ins = _AsciiStandIns(tokenizer)
        self.pretokens = _PretokenCache(tokenizer)
        self.chunks = _ChunkCache(self)

    def encode(self, text: str) -> bytes:
        """Return the ids of ``text`` as little-endian uint16."""
        if not self.known:
            ids = self.tokenizer.encode(text, add_special_tokens=False).ids
            return np.array(ids, "<u2").tobytes()
        if self.portable and text.isascii() and _is_simple(stripped := text.rstrip()):
            lines = stripped.replace("\n", "\n ").replace("\n \n", "\n\n")
            return b"".join(map(self.chunks.__getitem__, lines.split(" ")))
        text = self.tokenizer.normalizer.normalize_str(text)  # pyright: ignore[reportOptionalMemberAccess]
        return b"".join(map(self.pretokens.__getitem__, self.split(text)))

    def split(self, text: str) -> Iterable[str]:
        """Split a normalised text into pretokens."""
        if text.isascii():
            return self.pattern.findall(text)
        ends = accumulate(map(len, self.pattern.findall(text.translate(self.stand_ins))), initial=0)
        return [text[a:b] for a, b in pairwise(ends)]


def _is_simple(text: str) -> bool:
    """Whether ASCII text has only single spaces between words, and one or two newlines between lines."""
    if not text or text[0] <= " " or any(two in text for two in ("  ", " \n", "\n ", "\n\n\n")):
        return False
    return not text.encode().translate(None, PLAIN)


class _ChunkCache(dict[str, bytes]):
    """From the text between two spaces to its ids; a space follows unless it ends with a newline."""

    def __init__(self, encoder: "Encoder"):
        super().__init__()
        self.encoder = encoder

    def __missing__(self, chunk: str) -> bytes:
        if len(self) >= CACHE_SIZE:
            self.clear()
        text = chunk if chunk[-1] == "\n" else chunk + " "
        ids = b"".join(map(self.encoder.pretokens.__getitem__, self.encoder.split(text)))
        self[chunk] = ids
        return ids


class _AsciiStandIns(dict[int, str]):
    """For `str.translate`: from a character beyond ASCII to an ASCII one that is split in the same way."""

    def __init__(self, tokenizer: Tokenizer):
        self.pre_tokenizer = tokenizer.pre_tokenizer
        super().__init__((code, chr(code)) for code in range(128))

    def __missing__(self, code: int) -> str:
        between = f"a{chr(code)}a"
        pieces = len(self.pre_tokenizer.pre_tokenize_str(between))  # pyright: ignore[reportOptionalMemberAccess]
        self[code] = {1: "a", 2: " ", 3: "!"}[pieces]
        return self[code]


class _PretokenCache(dict[str, bytes]):
    """From a pretoken to its ids."""

    def __init__(self, tokenizer: Tokenizer):
        super().__init__()
        self.model = tokenizer.model

    def __missing__(self, pretoken: str) -> bytes:
        if len(self) >= CACHE_SIZE:
            self.clear()
        ids = np.array([token.id for token in self.model.tokenize(pretoken)], "<u2").tobytes()
        self[pretoken] = ids
        return ids
