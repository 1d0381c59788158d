"""The last pass of the corpus stage: it writes the stories where they belong, and describes them."""

import html
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aurelius.corpus import shards, split
from aurelius.corpus.clean import words_of
from aurelius.corpus.split import Fates
from aurelius.files import write_bytes, write_json
from aurelius.progress import Progress

ROWS = 5000  # stories written at once
BIN = 25  # words of a bar of the histogram
OPENING = 4  # words
HELD_OUT = "held out, "  # begins the reasons of refused stories that were to be held out
SHOWN = 25  # of the most frequent words, characters and openings
DROPPED = pa.schema([("reason", pa.string()), ("text", pa.string()), ("similarity", pa.float32())])
TEXT = pa.schema([("text", pa.string())])


class Portrait:
    """What the kept stories look like."""

    def __init__(self):
        self.stories = self.words = self.bytes = 0
        self.lengths: Counter[int] = Counter()
        self.vocabulary: Counter[bytes] = Counter()
        self.openings: Counter[str] = Counter()
        self.characters: Counter[str] = Counter()

    def add(self, texts: Sequence[str]) -> None:
        """Look at more stories."""
        joined = "".join(texts)
        codes, counts = np.unique(np.frombuffer(joined.encode("utf-32-le"), "<u4"), return_counts=True)
        self.characters.update(dict(zip(map(chr, codes), counts.tolist(), strict=True)))
        self.stories += len(texts)
        self.bytes += len(joined.encode())
        for text in texts:
            words = text.split()
            self.words += len(words)
            self.lengths[len(words) // BIN * BIN] += 1
            self.openings[" ".join(words[:OPENING])] += 1
            self.vocabulary.update(words_of(text))

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values, the most frequent first."""
        return {
            "stories": self.stories,
            "words": self.words,
            "bytes": self.bytes,
            "words_per_story": {str(at): self.lengths[at] for at in sorted(self.lengths)},
            "characters": dict(sorted(self.characters.items(), key=lambda pair: (-pair[1], pair[0]))),
            "different_words": len(self.vocabulary),
            "words_once": sum(count == 1 for count in self.vocabulary.values()),
            "frequent_words": {word.decode(): count for word, count in _first(self.vocabulary)},
            "repeated_openings": dict(_first(self.openings)),
        }


class _Writer:
    """A Parquet file that is written some thousand rows at a time."""

    def __init__(self, path: Path, schema: pa.Schema, portrait: Portrait | None = None):
        self.file = pq.ParquetWriter(path, schema, compression="zstd")
        self.schema, self.portrait = schema, portrait
        self.rows: list[tuple[Any, ...]] = []

    def add(self, *row: Any) -> None:
        self.rows.append(row)
        if len(self.rows) == ROWS:
            self.flush()

    def flush(self) -> None:
        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.schema)
        self.file.write_table(pa.table(dict(zip(self.schema.names, columns, strict=True)), self.schema))
        if self.portrait and self.rows:
            self.portrait.add(columns[0])
        self.rows = []

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        self.file.close()


def write(
    out: Path,
    kept: Sequence[Path],
    held: Sequence[Path],
    fates: Fates,
    counts: shards.Counts,
    sources: Sequence[tuple[str, str]],
    progress: Progress,
) -> None:
    """Write the corpus folder from the shards of the stories and of those held out."""
    train, valid = Portrait(), Portrait()
    shown: dict[int, str] = {}
    with (
        progress.task("corpus: writing stories", len(fates.fate), "stories") as task,
        _Writer(out / "train.parquet", TEXT, train) as to_train,
        _Writer(out / "valid.parquet", TEXT, valid) as to_valid,
        _Writer(out / "dropped.parquet", DROPPED) as to_dropped,
    ):
        for story in shards.merged([*kept, *held]):
            number = fates.first[story.shard] + story.row
            fate = int(fates.fate[number])
            if fate == split.TRAIN:
                to_train.add(story.text)
            elif fate == split.VALID:
                to_valid.add(story.text)
            else:
                reason = split.REASONS[fate]
                counts.dropped[reason] += 1
                if fate != split.LEFT:  # what a sample leaves out is not wrong, and may be most of a corpus
                    alike = float(fates.similarity[number]) if fate == split.NEAR else None
                    to_dropped.add(reason, story.text, alike)
                    counts.show(reason, story.text)
            if number in fates.pairs:
                shown[number] = story.text
            task.advance()
        for side, begins in ((kept, ""), (held, HELD_OUT)):
            for reason, text in shards.refused(side):
                to_dropped.add(begins + reason, text, None)
    report = {
        "source": sources[0][0],
        "format": sources[0][1],
        "held_out": " ".join(sources[1]) if len(sources) > 1 else "a share of the same",
        "stories_read": counts.read,
        "changed": dict(sorted(counts.changed.items())),
        "dropped": dict(sorted(counts.dropped.items())),
        "duplicates": fates.figures,
        "examples": dict(sorted(counts.examples.items())),
        "near_pairs": [
            {"dropped": shown[a], "kept": shown[b], "similarity": round(float(fates.similarity[a]), 3)}
            for a, b in zip(fates.pairs[::2], fates.pairs[1::2], strict=True)
        ],
        "train": train.as_json(),
        "valid": valid.as_json(),
    }
    write_json(out / "report.json", report)
    write_bytes(out / "report.html", page(report).encode())


def page(report: dict[str, Any]) -> str:
    """Return the report as one HTML page that needs nothing else."""
    parts = [f"<h1>Corpus</h1><p>{_text(report['source'])} ({_text(report['format'])})"]
    parts.append(f"; held out: {_text(report['held_out'])}.</p>")
    sizes = [
        [side, *(f"{report[side][unit]:,}" for unit in ("stories", "words", "bytes"))]
        for side in ("train", "valid")
    ]
    parts.append(_table("Kept", ["", "stories", "words", "bytes"], sizes))
    for title in ("changed", "dropped", "duplicates"):
        rows = [[name, f"{value:,}"] for name, value in report[title].items()]
        parts.append(_table(title.capitalize() + f" of {report['stories_read']:,} read", ["", ""], rows))
    parts.append("<h2>Examples</h2>")
    for name, examples in report["examples"].items():
        parts.append(f"<h3>{_text(name)}</h3>")
        parts += [
            f"<blockquote>{' <b>→</b> '.join(map(_text, example))}</blockquote>" for example in examples
        ]
    for pair in report["near_pairs"]:
        parts.append(f"<h3>near duplicates, similarity {pair['similarity']}</h3>")
        parts += [f"<blockquote>{_text(pair[side])}</blockquote>" for side in ("kept", "dropped")]
    for title, key in (
        ("Words per story", "words_per_story"),
        ("Characters", "characters"),
        ("Frequent words", "frequent_words"),
        ("Repeated openings", "repeated_openings"),
    ):
        parts.append(_bars(title, dict(list(report["train"][key].items())[:60])))
    return PAGE.substitute(body="\n".join(parts))


PAGE = Template("""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Corpus report</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
td { padding: 0 1rem 0 0; } td + td { text-align: right; font-variant-numeric: tabular-nums; }
.bars td:last-child { width: 60%; } .bars div { background: #57a; height: .8em; }
blockquote { white-space: pre-wrap; border-left: 3px solid #ccc; margin: .5rem 0; padding-left: 1rem; }
</style>
$body
</html>
""")


def _text(value: object) -> str:
    return html.escape(str(value)[:1000])


def _table(title: str, heads: list[str], rows: list[list[str]]) -> str:
    body = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in [heads, *rows]
    )
    return f"<h2>{_text(title)}</h2><table>{body}</table>"


def _bars(title: str, values: dict[str, int]) -> str:
    most = max(values.values(), default=1)
    rows = "".join(
        f"<tr><td>{_text(repr(name) if len(name) == 1 else name)}</td><td>{value:,}</td>"
        f'<td><div style="width:{100 * value / most:.1f}%"></div></td></tr>'
        for name, value in values.items()
    )
    return f'<h2>{_text(title)}</h2><table class="bars">{rows}</table>'


def _first(counts: Counter[Any]) -> list[tuple[Any, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:SHOWN]
