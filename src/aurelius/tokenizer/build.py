"""Stage 2: the suffix-space tokenizer, as one stock ``tokenizer.json``."""

from pathlib import Path

from aurelius.config.recipe import Recipe
from aurelius.data.stories import StoryFile
from aurelius.errors import TokenizerError
from aurelius.files import read_json, write_bytes
from aurelius.progress import SILENT, Progress
from aurelius.special_tokens import PREFIXES
from aurelius.tokenizer.load import load, special_tokens_of
from aurelius.tokenizer.suffix_bpe import train


def build(recipe: Recipe, corpus_folder: Path, out: Path, progress: Progress = SILENT) -> list[Path]:
    """Train the tokenizer on the training stories, or copy an existing one; write ``out/tokenizer.json``.

    Args:
        recipe: its ``[tokenizer]`` section is used.
        corpus_folder: a corpus folder.
        out: the folder to write.
        progress: reports the stories read.

    Returns:
        The user's files that were read.

    Raises:
        TokenizerError: the stories hold too few different words for the vocabulary, or the existing
            tokenizer has another size, or no begin and end token.
        RunError: a file of the existing tokenizer is missing.
    """
    if recipe.tokenizer.source:
        return _copy(Path(recipe.tokenizer.source), recipe.tokenizer.vocab_size, out)
    stories = StoryFile(corpus_folder, "train", limit=recipe.tokenizer.stories)
    tokenizer = train(stories, recipe.tokenizer, progress)
    write_bytes(out / "tokenizer.json", tokenizer.to_str(pretty=True).encode())
    PREFIXES[recipe.tokenizer.prefix].write(out)
    return []


def _copy(source: Path, vocab_size: int, out: Path) -> list[Path]:
    """Copy the tokenizer of a Hugging Face folder, with the special ids its configuration names."""
    file, config = source / "tokenizer.json", read_json(source / "config.json")
    tokenizer = load(file)
    if (size := tokenizer.get_vocab_size()) != vocab_size:
        raise TokenizerError(f"{file} has {size} tokens, not the {vocab_size} of tokenizer.vocab_size")
    write_bytes(out / "tokenizer.json", file.read_bytes())
    special_tokens_of(config, tokenizer, str(source)).write(out)
    return [file, source / "config.json"]
