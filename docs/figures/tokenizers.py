"""Draw tokenizers.svg from the figures of the study (needs matplotlib): python docs/figures/tokenizers.py."""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "aurelius"
from matplotlib import pyplot as plt  # noqa: E402

SIZES = {  # bits per byte on 500 held-out stories, by seed
    512: [1.2551, 1.2524, 1.2535],
    1024: [1.2402, 1.2334, 1.2307],
    1536: [1.2116, 1.2157, 1.2117],
    2048: [1.1759, 1.1763, 1.1777],
    4096: [1.1160, 1.1169, 1.1173],
}
OTHERS = {
    "nano: separate, suffix\nspace, byte fallback": SIZES[1536],
    "glued": [1.2452, 1.2496, 1.2555],
    "byte-level": [1.2045, 1.2069, 1.2004],
    "characters only": [1.1946, 1.1966, 1.1948],
    "prefix space": [1.1791, 1.1766, 1.1649],
}


def main() -> None:
    """Draw the sizes of the vocabulary as a curve, the other factors as dots."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    for size, values in SIZES.items():
        left.plot([size] * len(values), values, "o", color="#30638e", alpha=0.7)
    left.plot(list(SIZES), [sum(v) / len(v) for v in SIZES.values()], color="#d1495b")
    left.set(xscale="log", xticks=list(SIZES), xticklabels=list(SIZES), title="Vocabulary")
    left.minorticks_off()
    left.set(xlabel="tokens", ylabel="bits per byte")
    for at, values in enumerate(OTHERS.values()):
        right.plot(values, [at] * len(values), "o", color="#30638e", alpha=0.7)
        right.plot(sum(values) / len(values), at, "|", color="#d1495b", markersize=16)
    right.set(yticks=range(len(OTHERS)), yticklabels=list(OTHERS), title="Split, alphabet, space")
    right.invert_yaxis()
    right.set_xlabel("bits per byte")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
