"""How should a tiny model sample? Temperature, min-p and top-p against loops, copies, endings and a judge.

    python benchmarks/sampling.py RUN RUN RUN --judge runs/better --on held-out.txt --trained-on stories.txt

Each model, such as three seeds of one recipe, tells stories with the seeds 0, 1, 2 and so on, no prompt.
The judge, a better model, says how many bits per byte it needs for their text: few may mean good stories, or
dull ones, so the same figure of real stories stands beside it, as all others do.
"""

import argparse
import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from aurelius.corpus.readers.sources import open_path
from aurelius.evaluation.likelihood import measure
from aurelius.evaluation.novelty import Novelty, measure_novelty
from aurelius.inference.language_model import LanguageModel
from aurelius.inference.open_model import open_model
from aurelius.inference.sampling import Sampling
from aurelius.progress_bar import if_watched

GRID = [
    *(Sampling(temperature=t, min_p=p) for t in (0.3, 0.5, 0.8, 1.0, 1.2) for p in (0.0, 0.05, 0.15)),
    *(Sampling(temperature=t, min_p=0, top_p=p) for t in (0.8, 1.0) for p in (0.9, 0.95)),
]
FIGURES = ("looping", "repetition", "seen_10", "distinct_3", "self_bleu")


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="+", help="runs or folders: seeds of one recipe")
    parser.add_argument(
        "--judge", required=True, help="a better model, such as one that was trained for an hour"
    )
    parser.add_argument("--on", type=Path, required=True, help="stories that no model has seen")
    parser.add_argument("--trained-on", type=Path, action="append", required=True)
    parser.add_argument("--stories", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    held_out = [text for text in open_path(options.on).stories if text]
    trained_on = list(chain.from_iterable(open_path(path).stories for path in options.trained_on))
    judge, models = open_model(options.judge), [open_model(name) for name in options.models]
    rows, real = [], {}
    for sampling in GRID:
        found = [
            measure_novelty(
                model, held_out, trained_on, count=options.stories, sampling=sampling, progress=if_watched()
            )
            for model in models
        ]
        rows.append({"sampling": name(sampling), "models": [figures(each, judge) for each in found]})
        print(shown(rows[-1]), flush=True)
        if len(rows) == 1:
            real = figures_of_real(found[0], judge, held_out[: options.stories])
    print("real stories", json.dumps(real))
    if options.json:
        result = {"stories": options.stories, "models": options.models, "rows": rows, "real": real}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def name(sampling: Sampling) -> str:
    """Return how a table calls a way to sample."""
    cut = f", min-p {sampling.min_p:g}" if sampling.min_p else ""
    cut += f", top-p {sampling.top_p:g}" if sampling.top_p < 1 else ""
    return f"temperature {sampling.temperature:g}{cut}"


def figures(found: Novelty, judge: LanguageModel) -> dict[str, float]:
    """Return the figures of one model's stories."""
    judged = measure(judge, [story.text for story in found.stories]).bits_per_byte_text
    return {key: getattr(found.written, key) for key in FIGURES} | {
        "ended": found.ended.value,
        "ended_short": found.ended_short.value,
        "judged": judged,
    }


def figures_of_real(found: Novelty, judge: LanguageModel, stories: list[str]) -> dict[str, float]:
    """Return the figures of as many real stories."""
    judged = measure(judge, stories).bits_per_byte_text
    return {key: getattr(found.held_out, key) for key in FIGURES} | {"judged": judged}


def shown(row: dict[str, Any]) -> str:
    """Return a row of the table: means over the models, and standard deviations."""
    cells = []
    for key in row["models"][0]:
        values = [each[key] for each in row["models"]]
        spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        cells.append(f"{key} {np.mean(values):.3f}{spread}")
    return f"{row['sampling']:28} {'; '.join(cells)}"


if __name__ == "__main__":
    main()
