"""Draw sampling.svg from sampling.json, which benchmarks/sampling.py wrote.

python docs/figures/sampling.py
"""

import json
from pathlib import Path

import numpy as np

from aurelius.figures import COLOURS, new_figure, to_svg

HERE = Path(__file__).parent
NAMED = {  # settings that have a name in the figure
    "temperature 0.3": "0.3",
    "temperature 0.5, min-p 0.15": "0.5, min-p 0.15 (the card)",
    "temperature 0.5": "0.5",
    "temperature 1, min-p 0.15": "1, min-p 0.15 (the default)",
    "temperature 0.8": "0.8",
    "temperature 1, top-p 0.9": "1, top-p 0.9",
    "temperature 1": "1",
}


def main() -> None:
    """Draw the share of stories that loop against what the judge needs for them."""
    found = json.loads((HERE / "sampling.json").read_text())
    with new_figure(7.5, 3.6) as figure:
        axes = figure.subplots()
        for row in found["rows"]:
            x, y = (np.mean([model[key] for model in row["models"]]) for key in ("judged", "looping"))
            if x > 1.4:
                continue  # temperature 1.2 alone: far to the right, no loops
            label = NAMED.get(row["sampling"], "")
            axes.plot(x, 100 * y, "o", color=COLOURS[1] if "(" in label else COLOURS[0])
            place = (float(x), 100 * float(y))
            axes.annotate(label, place, (4, 7), textcoords="offset points", fontsize=8)
        axes.axvline(found["real"]["judged"], color=COLOURS[2], linestyle="--")
        axes.annotate("real stories", (found["real"]["judged"], 40), (4, 0), textcoords="offset points")
        axes.set_xlabel("bits per byte that a better model needs for the stories")
        axes.set_ylabel("stories that loop (%)")
        axes.set_title("Nineteen ways to sample: temperature, min-p, top-p", loc="left", fontweight="bold")
        told = "the lower the temperature, the more predictable the stories, and the more of them loop"
        (HERE / "sampling.svg").write_text(to_svg(figure, "Ways to sample", told))


if __name__ == "__main__":
    main()
