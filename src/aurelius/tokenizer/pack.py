"""Stage 3: encode the stories of a corpus into the token store."""

from pathlib import Path

import numpy as np

from aurelius.data.store import TEXT_BYTES, StoreWriter
from aurelius.data.stories import StoryFile
from aurelius.files import write_json
from aurelius.progress import SILENT, Progress
from aurelius.special_tokens import SpecialTokens
from aurelius.tokenizer.encode import Encoder
from aurelius.tokenizer.load import load


def build(corpus_folder: Path, tokenizer_folder: Path, out: Path, progress: Progress = SILENT) -> None:
    """Encode both sides of the split and write the token folder ``out``.

    Raises:
        RunError: an earlier artifact is missing or damaged.
    """
    encoder = Encoder(load(tokenizer_folder / "tokenizer.json"))
    special = SpecialTokens.read(tokenizer_folder)
    begin, end = (np.array([token], "<u2").tobytes() for token in (special.begin, special.end))
    if begin == end:  # the end of a story begins the next one
        end = b""
    out.mkdir(parents=True, exist_ok=True)
    special.write(out)
    text_bytes = {}
    for side in ("train", "valid"):
        stories = StoryFile(corpus_folder, side)
        with (
            progress.task(f"tokens: encoding {side}", len(stories), "stories") as task,
            StoreWriter(out, side, len(stories)) as writer,
        ):
            for text in stories:
                writer.add(text, begin + encoder.encode(text) + end)
                task.advance()
        text_bytes[side] = writer.text_bytes
    write_json(out / TEXT_BYTES, text_bytes)
