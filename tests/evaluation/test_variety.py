import json
import random
import subprocess
from pathlib import Path

import pytest

from aurelius.evaluation.variety import distinct, loops, repetition, self_bleu

PYTHON = Path(__file__).parents[2] / ".venv-4.57/bin/python"  # lm-eval brings sacrebleu

SACREBLEU = """
import json, sys
from sacrebleu.metrics.bleu import BLEU
texts = json.loads(sys.argv[1])
bleu = BLEU(smooth_method="none", tokenize="none", effective_order=False)
scores = [bleu.sentence_score(text, texts[:n] + texts[n + 1 :]).score for n, text in enumerate(texts)]
print(sum(scores) / len(scores) / 100)
"""


def some_texts(seed: int) -> list[list[str]]:
    draw = random.Random(seed)
    return [[draw.choice("abcd") for _ in range(draw.randint(3, 30))] for _ in range(6)]


def test_distinct_grams_are_counted_over_all_texts():
    texts = ["abab", "bac"]  # of words of one letter
    assert distinct(texts, 1) == 3 / 7
    assert distinct(texts, 2) == 3 / 5, "ab, ba, ac of ab, ba, ab, ba, ac"
    assert distinct(texts, 9) == distinct([], 2) == 0


def test_repetition_is_the_share_of_grams_said_before():
    assert repetition("abcdefg") == repetition("ab") == 0
    assert repetition("abcdabcd") == pytest.approx(1 / 5), "of five, abcd is said again"
    assert repetition(["very"] * 13) == pytest.approx(9 / 10)


def test_a_story_that_says_the_same_six_words_three_times_loops():
    song = ["row", "row", "row", "your", "boat", "gently"]
    assert loops([*song, "x", *song, "y", *song])
    assert not loops([*song, "x", *song])
    assert not loops([*song[:5], "x", *song[:5], "y", *song[:5]])
    assert not loops([])


def test_identical_texts_have_self_bleu_1_and_disjoint_ones_0():
    assert self_bleu(["abcde"] * 3) == pytest.approx(1)
    assert self_bleu(["abcde", "fghij"]) == 0
    assert self_bleu(["abcde", "abcxd"]) == 0, "they share no four words"
    assert self_bleu(["abcd"]) == self_bleu([]) == 0


@pytest.mark.parametrize(
    "seed, expected",
    [
        (0, 0.5754657850616265),
        (1, 0.5665634305939344),
        (2, 0.5641770031597494),
        (3, 0.49180193412510165),
    ],
)
def test_self_bleu_is_what_sacrebleu_says(seed: int, expected: float):
    """Golden: sacrebleu 2.6.0, as in the script above: the mean BLEU of each text against all others."""
    assert self_bleu(some_texts(seed)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.long
@pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-4.57 here: make test-long makes it")
def test_self_bleu_of_many_texts_is_that_of_sacrebleu():
    texts = [words for seed in range(10, 30) for words in some_texts(seed)]
    command = [PYTHON, "-c", SACREBLEU, json.dumps([" ".join(words) for words in texts])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert self_bleu(texts) == pytest.approx(float(done.stdout), rel=1e-9)
