"""Document-wise likelihood: bits per byte of any causal language model on named documents.

Every document is scored by itself, after the prefix that the model gets at inference. One longer than the
context is scored in windows that advance by half a context; later windows keep the prefix and score only
tokens that were not scored before. Bytes are those of the untouched document, whatever the tokenizer makes of
it, so models with different tokenizers can be compared.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aurelius.errors import CorpusError
from aurelius.inference.language_model import LanguageModel
from aurelius.progress import SILENT, Progress
from aurelius.special_tokens import IGNORE_INDEX

BATCH_TOKENS = 8192
BATCH_LOGITS = 1 << 26  # float32 values, 256 MiB
STRETCHES = (0, 4, 16, 64, 128, 256, 512, 1024)  # where each begins, in tokens of the text


@dataclass(frozen=True)
class Likelihood:
    """The figures of one model on one set of documents.

    ``bits_per_byte`` and ``nats_per_token`` include the end token of each story; the ``_text`` figure leaves
    it out, for models that never learned one. ``standard_error`` is of bits_per_byte, over documents.
    """

    documents: int
    bytes: int
    tokens: int
    bits_per_byte: float
    bits_per_byte_text: float
    nats_per_token: float
    standard_error: float
    documents_with_unknown: int

    def as_json(self) -> dict[str, Any]:
        """Return the figures, rounded to their significant digits."""
        return {k: round(v, 5) if isinstance(v, float) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Stretch:
    """The tokens of all documents from position ``first`` on, to the next stretch: nats, and bytes."""

    first: int
    tokens: int
    nats: float
    bytes: float

    def as_json(self) -> dict[str, Any]:
        """Return the figures."""
        return {
            "first_token": self.first,
            "tokens": self.tokens,
            "bits_per_byte": round(self.nats / self.bytes / math.log(2), 4) if self.bytes else None,
            "nats_per_token": round(self.nats / self.tokens, 4),
        }


@dataclass(frozen=True)
class Scores:
    """What a model gave each of N documents.

    ``text`` and ``end`` [N] are nats, of the texts and of their end tokens; ``sizes`` [N] are bytes.
    """

    text: NDArray[np.float64]
    end: NDArray[np.float64]
    sizes: NDArray[np.float64]
    tokens: int
    unknown: int  # documents with something that the vocabulary cannot spell
    stretches: list[Stretch]  # the texts by position, end tokens left out

    @property
    def total(self) -> NDArray[np.float64]:
        """Nats of each document [N], its end token included."""
        return self.text + self.end

    def likelihood(self) -> Likelihood:
        """Return the figures of all documents together."""
        total, size = self.total, float(self.sizes.sum())
        per_byte = total.sum() / size
        spread = math.sqrt(float(((total - per_byte * self.sizes) ** 2).sum())) / size
        return Likelihood(
            documents=len(self.sizes),
            bytes=int(size),
            tokens=self.tokens,
            bits_per_byte=float(per_byte / math.log(2)),
            bits_per_byte_text=float(self.text.sum() / size / math.log(2)),
            nats_per_token=float(total.sum() / self.tokens),
            standard_error=spread / math.log(2),
            documents_with_unknown=self.unknown,
        )


@dataclass(frozen=True)
class Window:
    """Part of one document: inputs and, of the same length, targets; IGNORE_INDEX is not scored.

    ``first`` is the position in the document of the first id that is scored.
    """

    document: int
    inputs: list[int]
    targets: list[int]
    first: int


def measure(model: LanguageModel, documents: Sequence[str], progress: Progress = SILENT) -> Likelihood:
    """Return the figures of ``model`` on ``documents``.

    Raises:
        CorpusError: the documents are empty.
    """
    return score(model, documents, progress).likelihood()


def score(model: LanguageModel, documents: Sequence[str], progress: Progress = SILENT) -> Scores:
    """Score every one of ``documents`` with ``model``.

    Raises:
        CorpusError: the documents are empty.
    """
    sizes = np.array([len(document.encode()) for document in documents], dtype=np.float64)
    if sizes.sum() == 0:
        raise CorpusError("there is nothing to measure: the documents are empty")
    text, end = np.zeros(len(documents)), np.zeros(len(documents))
    tokens = unknown = 0
    windows: list[Window] = []
    counts, nats_in, bytes_in = np.zeros((3, len(STRETCHES)))
    for number, document in enumerate(documents):
        ids = model.encode(document)
        _add_lengths(model, ids, sizes[number], counts, bytes_in)
        unknown += model.unknown is not None and model.unknown in ids
        if model.end is not None:
            ids = [*ids, model.end]
        tokens += len(ids)
        if not model.prefix and ids:
            text[number] += math.log(model.vocab_size)  # nothing to predict the first token from
            nats_in[0] += math.log(model.vocab_size)
        windows += split_windows(number, ids, model.prefix, model.context)
    windows.sort(key=lambda window: len(window.inputs))
    batch_tokens = min(BATCH_TOKENS, BATCH_LOGITS // model.vocab_size)
    with progress.task(f"evaluating {model.name}", len(windows), "windows") as task:
        while windows:
            count = max(1, min(len(windows), batch_tokens // len(windows[-1].inputs)))
            batch, windows = windows[-count:], windows[:-count]
            nats = _score(model, batch)
            for window, row in zip(batch, nats, strict=True):
                ends = [t == model.end for t in window.targets]
                scores = row[: len(ends)]
                end[window.document] += scores[ends].sum()
                text[window.document] += scores.sum() - scores[ends].sum()
                ignored = sum(t == IGNORE_INDEX for t in window.targets)  # at the beginning
                at = window.first + np.arange(len(ends) - ignored)
                np.add.at(nats_in, _stretch(at), np.where(ends, 0, scores)[ignored:])
            task.advance(count)
    stretches = [
        Stretch(first, int(count), float(nats), float(size))
        for first, count, nats, size in zip(STRETCHES, counts, nats_in, bytes_in, strict=True)
        if count
    ]
    return Scores(text, end, sizes, tokens, int(unknown), stretches)


def _stretch(positions: NDArray[np.integer]) -> NDArray[np.integer]:
    return np.searchsorted(STRETCHES, positions, side="right") - 1


def _add_lengths(
    model: LanguageModel,
    ids: list[int],
    size: float,
    counts: NDArray[np.float64],
    bytes_in: NDArray[np.float64],
) -> None:
    """Add a document's tokens and bytes to those of each stretch.

    Decoding a part may lose the space before it, so the bytes are scaled to the document's.
    """
    parts = [ids[first:last] for first, last in zip(STRETCHES, [*STRETCHES[1:], len(ids)], strict=True)]
    parts = [part for part in parts if part]
    lengths = np.array([len(model.decode(part).encode()) for part in parts], float)
    counts[: len(parts)] += [len(part) for part in parts]
    bytes_in[: len(parts)] += lengths * (size / max(lengths.sum(), 1))


def split_windows(document: int, ids: list[int], prefix: list[int], context: int) -> list[Window]:
    """Split a document's ids into windows of at most ``context`` inputs, each id scored once.

    Without a prefix the first id has no window; the caller counts its cost.
    """
    width = context - len(prefix) + 1  # ids per window: the last one is only a target
    windows, begin, scored = [], 0, 0 if prefix else 1
    while scored < len(ids):
        piece = ids[begin : begin + width]
        sequence = prefix + piece
        first = len(prefix) + scored - begin  # position in the sequence of the first id to score
        targets = [IGNORE_INDEX] * (first - 1) + sequence[first:]
        windows.append(Window(document, sequence[:-1], targets, scored))
        scored = begin + len(piece)
        begin += width // 2
    return windows


def _score(model: LanguageModel, windows: list[Window]) -> np.ndarray:
    """Return the nats [B, T] of each target, 0 for IGNORE_INDEX; the padding at the end has no effect."""
    length = max(len(window.inputs) for window in windows)
    inputs = torch.zeros(len(windows), length, dtype=torch.long)
    targets = torch.full((len(windows), length), IGNORE_INDEX)
    for row, window in enumerate(windows):
        inputs[row, : len(window.inputs)] = torch.tensor(window.inputs)
        targets[row, : len(window.targets)] = torch.tensor(window.targets)
    logits: Tensor = model.logits(inputs)
    nats = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.to(logits.device).flatten(), reduction="none", ignore_index=IGNORE_INDEX
    )
    return nats.view_as(targets).double().cpu().numpy()
