"""Encoding a corpus: words repeat, so each different pretoken is encoded once.

The ids are those of `tokenizers`. ASCII text is cut by Python's own regular expressions; of any other
character the tokenizer's pretokenizer is asked once how it is cut, so that no two versions of Unicode can
disagree. Plain text, with single spaces and newlines, is cut at those alone: no pretoken spans the place
after one, so the pretokens of what stands between are looked up together.
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

# The splits of `suffix_bpe` in ASCII.
PATTERNS = {
    "separate": re.compile(r"[A-Za-z0-9']+\s*|[^A-Za-z0-9'\s]+\s*|\s+", re.ASCII),
    "glued": re.compile(r"[^\s]+\s*|\s+", re.ASCII),
}
PLAIN = bytes([10, *range(32, 127)])
MOST = 500_000  # pretokens, and chunks, remembered


class Encoder:
    """A tokenizer made fast for many texts; its ids are those without special tokens."""

    def __init__(self, tokenizer: Tokenizer):
        """Look at how ``tokenizer`` cuts; one that does not cut as Aurelius's do is asked for each text.

        Raises:
            TokenizerError: it has more ids than 16 bits hold.
        """
        rules = json.loads(tokenizer.to_str())
        pattern = ((rules.get("pre_tokenizer") or {}).get("pattern") or {}).get("Regex")
        kind = next((name for name, split in SPLITS.items() if split == pattern), None)
        normal = (rules.get("normalizer") or {}).get("normalizers", [])
        patterns = [rule.get("pattern", {}).get("Regex") for rule in normal]
        if patterns not in [[regex for regex, _ in found] for found in NORMALIZERS.values()]:
            kind = None
        if len(rules["added_tokens"]) > len(SPECIAL_TOKENS):  # they would be looked for in every text
            kind = None
        if tokenizer.get_vocab_size() > 2**16:
            raise TokenizerError(
                f"the tokenizer has {tokenizer.get_vocab_size()} tokens; stories are packed with up to 65,536"
            )
        self.tokenizer, self.known = tokenizer, kind is not None
        if kind is None:
            return
        self.portable = patterns == [pattern for pattern, _ in NORMALIZERS["portable"]]
        self.pattern = PATTERNS[kind]
        self.classes = _Classes(tokenizer)
        self.pretokens = _Pretokens(tokenizer)
        self.chunks = _Chunks(self)

    def encode(self, text: str) -> bytes:
        """Return the ids of ``text`` as little-endian uint16."""
        if not self.known:
            ids = self.tokenizer.encode(text, add_special_tokens=False).ids
            return np.array(ids, "<u2").tobytes()
        if self.portable and text.isascii() and _simple(stripped := text.rstrip()):
            lines = stripped.replace("\n", "\n ").replace("\n \n", "\n\n")
            return b"".join(map(self.chunks.__getitem__, lines.split(" ")))
        text = self.tokenizer.normalizer.normalize_str(text)  # pyright: ignore[reportOptionalMemberAccess]
        return b"".join(map(self.pretokens.__getitem__, self.cut(text)))

    def cut(self, text: str) -> Iterable[str]:
        """Cut a normalised text into pretokens."""
        if text.isascii():
            return self.pattern.findall(text)
        ends = accumulate(map(len, self.pattern.findall(text.translate(self.classes))), initial=0)
        return [text[a:b] for a, b in pairwise(ends)]


def _simple(text: str) -> bool:
    """Whether ASCII text has only single spaces between words, and one or two newlines between lines."""
    if not text or text[0] <= " " or any(two in text for two in ("  ", " \n", "\n ", "\n\n\n")):
        return False
    return not text.encode().translate(None, PLAIN)


class _Chunks(dict[str, bytes]):
    """What stands between spaces to its ids; a space follows unless it ends with a newline."""

    def __init__(self, encoder: "Encoder"):
        super().__init__()
        self.encoder = encoder

    def __missing__(self, chunk: str) -> bytes:
        if len(self) >= MOST:
            self.clear()
        text = chunk if chunk[-1] == "\n" else chunk + " "
        ids = b"".join(map(self.encoder.pretokens.__getitem__, self.encoder.cut(text)))
        self[chunk] = ids
        return ids


class _Classes(dict[int, str]):
    """For `str.translate`: characters beyond ASCII to an ASCII one that is cut in the same way."""

    def __init__(self, tokenizer: Tokenizer):
        self.cut = tokenizer.pre_tokenizer
        super().__init__((code, chr(code)) for code in range(128))

    def __missing__(self, code: int) -> str:
        between = f"a{chr(code)}a"
        pieces = len(self.cut.pre_tokenize_str(between))  # pyright: ignore[reportOptionalMemberAccess]
        self[code] = {1: "a", 2: " ", 3: "!"}[pieces]
        return self[code]


class _Pretokens(dict[str, bytes]):
    """Pretokens to their ids."""

    def __init__(self, tokenizer: Tokenizer):
        super().__init__()
        self.model = tokenizer.model

    def __missing__(self, pretoken: str) -> bytes:
        if len(self) >= MOST:
            self.clear()
        ids = np.array([token.id for token in self.model.tokenize(pretoken)], "<u2").tobytes()
        self[pretoken] = ids
        return ids
