"""Train a tokenizer whose words carry the space before them, to compare with ours, which carry the one after.

    python benchmarks/prefix_tokenizer.py RUN --vocab-size 1536 --out prefix-1536

Everything else is as in ours: the same stories, characters, byte tokens and trainer. ``--out`` is a folder
for ``tokenizer.source`` of a recipe.
"""

import argparse
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from aurelius.config.settings import TokenizerSettings
from aurelius.data.stories import StoryFile
from aurelius.files import write_bytes, write_json
from aurelius.run_paths import RunPaths
from aurelius.special_tokens import BOS, EOS
from aurelius.tokenizer.suffix_bpe import SPACE, WORD, assemble, trainer_of

SPLIT = rf"[{SPACE}]*[{WORD}]+|[{SPACE}]*[^{WORD}{SPACE}]+|[{SPACE}]+"


def train(stories: StoryFile, vocab_size: int) -> Tokenizer:
    """Return the tokenizer: a text has one space before it and none after it."""
    settings = TokenizerSettings(vocab_size=vocab_size)
    draft = Tokenizer(models.BPE())
    draft.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.Prepend(" ")])
    draft.pre_tokenizer = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    draft.train_from_iterator(stories, trainer_of(stories, settings))
    tokenizer = assemble(draft, settings)
    tokenizer.normalizer, tokenizer.pre_tokenizer = draft.normalizer, draft.pre_tokenizer
    return tokenizer


def main() -> None:
    """Train, write, and say how short the tokens are."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", type=Path, help="run folder whose training stories are used")
    parser.add_argument("--vocab-size", type=int, default=1536)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    stories = StoryFile(RunPaths(options.run).corpus, "train")
    tokenizer = train(stories, options.vocab_size)
    options.out.mkdir(parents=True, exist_ok=True)
    write_bytes(options.out / "tokenizer.json", tokenizer.to_str(pretty=True).encode())
    write_json(options.out / "config.json", {"bos_token_id": BOS, "eos_token_id": EOS})
    texts = list(StoryFile(RunPaths(options.run).corpus, "valid"))
    tokens = sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)
    print(f"{sum(len(text.encode()) for text in texts) / tokens:.4f} bytes per token on held-out stories")


if __name__ == "__main__":
    main()
