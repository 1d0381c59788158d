"""Draw settings.svg from the figures of the log (needs matplotlib): python docs/figures/settings.py."""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "aurelius"
from matplotlib import pyplot as plt  # noqa: E402

SHORT = {  # nano, 1.2 M tokens, one seed, 500 held-out stories
    "AdamW 0.001": 1.2826,
    "AdamW 0.002": 1.2460,
    "AdamW 0.002, two blocks a step": 1.2134,
    "Muon, attention over the block": 1.1650,
    "Muon, attention in the story": 1.1378,
    "… and blocks that begin with one": 1.1205,
    "… and momentum 0.9": 1.1004,
    "… and two blocks a step": 1.0730,
}
LONG = {  # nano, the validation sample, by seed
    "Muon, two blocks,\nmomentum 0.9, 3 M": [0.9337, 0.9473],
    "Muon 0.02, 3 M": [0.9147, 0.9222],
    "Muon 0.01, 3 M": [0.9037, 0.9200, 0.9177],
    "AdamW 0.002, 5 M": [0.9133, 0.8937, 0.9176],
}


def main() -> None:
    """Draw both tables as dots."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    left.plot(list(SHORT.values()), range(len(SHORT)), "o", color="#30638e")
    left.set(yticks=range(len(SHORT)), yticklabels=list(SHORT), title="1.2 M tokens, one seed")
    for at, values in enumerate(LONG.values()):
        right.plot(values, [at] * len(values), "o", color="#30638e", alpha=0.7)
        right.plot(sum(values) / len(values), at, "|", color="#d1495b", markersize=16)
    right.set(yticks=range(len(LONG)), yticklabels=list(LONG), title="3 and 5 M tokens, seeds and mean")
    for axes in (left, right):
        axes.invert_yaxis()
        axes.set_xlabel("bits per byte")
        axes.grid(axis="x", alpha=0.3)
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
