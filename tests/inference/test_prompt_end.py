"""The end of a prompt, against brute force over every sequence of tokens of a toy vocabulary."""

import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

import aurelius
from aurelius.errors import ModelError
from aurelius.inference.generate import generate
from aurelius.inference.open_model import open_model
from aurelius.inference.prompt import Prompt
from aurelius.inference.prompt_end import PromptEnd, Vocabulary
from aurelius.inference.sampling import Sampling
from aurelius.tokenizer.load import load

TEXTS = ["", "t", "i", "ti", "t ", "ti ", " ", "im", "m", "ma", "m\n", "\n"]


class Toy:
    """A model of a few tokens whose logits depend, at random, on everything before."""

    name, context, vocab_size, parameters, prefix, suppressed, end, unknown = (
        "toy",
        64,
        12,
        0,
        [0],
        [0],
        0,
        None,
    )
    sampling = Sampling(temperature=1, min_p=0)

    def __init__(self, scale: float = 2):
        self.scale = scale  # of the logits: the larger, the surer

    def next_token_logits(self, ids: list[int], cache: list[int]) -> np.ndarray:
        cache += ids
        return np.random.default_rng([17, *cache]).normal(size=12).astype(np.float32) * self.scale

    def new_cache(self) -> list[int]:
        return []

    def rewind(self, cache: list[int], length: int) -> None:
        del cache[length:]

    def log_probability(self, ids: tuple[int, ...]) -> float:
        total = 0.0
        for length in range(len(ids)):
            logits = self.next_token_logits([0, *ids[:length]], []).astype(np.float64)
            logits[0] = -np.inf
            total += logits[ids[length]] - np.logaddexp.reduce(logits)
        return total


class ToyTokenizer:
    """Only what a search needs of a tokenizer: its spelling of a word, here token by token."""

    @property
    def model(self) -> "ToyTokenizer":
        return self

    def tokenize(self, text: str) -> list:
        return [type("Token", (), {"id": TEXTS.index(character)}) for character in text]


def toy_vocabulary() -> Vocabulary:
    vocabulary = Vocabulary.__new__(Vocabulary)
    vocabulary.tokenizer = ToyTokenizer()  # pyright: ignore[reportAttributeAccessIssue]
    vocabulary.bytes = [text.encode() for text in TEXTS]
    return vocabulary


@pytest.mark.parametrize("word_open", [False, True])
@pytest.mark.parametrize("typed", ["", " ", "\n"])
def test_paths_and_their_weights_are_those_of_brute_force(typed: str, word_open: bool):
    end = PromptEnd([], "tim", typed, word_open)
    target = ("tim" + typed).encode()
    wanted = {}
    for length in range(1, len(target) + 1):
        for ids in itertools.product(range(1, 12), repeat=length):
            spelt = "".join(TEXTS[i] for i in ids).encode()
            shorter = "".join(TEXTS[i] for i in ids[:-1]).encode()
            complete = spelt.startswith(target) and (word_open or not spelt[len(target) :].strip())
            if complete and len(shorter) < len(target):  # and no earlier token completed it
                wanted[ids] = Toy().log_probability(ids)
    paths = toy_vocabulary().paths(Toy(), end, remaining=0)  # pyright: ignore[reportArgumentType]
    assert paths is not None
    found = dict(zip(map(tuple, paths.ids), paths.log_weights.tolist(), strict=True))
    assert found == pytest.approx(wanted, abs=1e-5)
    bare = {ids for ids, is_bare in zip(map(tuple, paths.ids), paths.bare, strict=True) if is_bare}
    assert bare == {ids for ids in wanted if not word_open and "".join(TEXTS[i] for i in ids) == "tim"}


def test_a_search_that_ends_early_has_nearly_all_of_the_probability():
    end = PromptEnd([], "titimti", "", False)
    whole, early = (toy_vocabulary().paths(Toy(8), end, remaining) for remaining in (0, 0.1))  # pyright: ignore
    assert whole is not None and early is not None and len(early.ids) < len(whole.ids)
    share = math.exp(np.logaddexp.reduce(early.log_weights) - np.logaddexp.reduce(whole.log_weights))
    assert share > 1 / 1.1


@pytest.fixture(scope="module")
def tokenizer(tiny_run: Path) -> Tokenizer:
    return load(tiny_run / "tokenizer/tokenizer.json")


@given(text=st.text(st.sampled_from("abTo ,.\n\t\u00a0'é日😀"), max_size=30))
def test_the_end_spells_the_prompt_again(tokenizer: Tokenizer, text: str):
    vocabulary = Vocabulary.of(tokenizer)
    assert vocabulary is not None
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    end = vocabulary.end_of(text, ids)
    if end is None:
        assert not text.strip()
    else:
        assert (tokenizer.decode(end.before).encode() + end.target).decode() == text
        assert ids[: len(end.before)] == end.before


def test_tokenizers_of_other_kinds_are_left_alone(stories260k: Path):
    assert Vocabulary.of(load(stories260k / "tokenizer.json")) is None
    model = open_model(stories260k, "cpu")
    ids = model.encode("Once upon a time")
    assert Prompt.read(model, "Once upon a time") == Prompt(ids, "Once upon a time")


def test_what_follows_the_last_word_is_open(story_model):
    """With the card's prompt, most stories of the storyteller go on with a comma."""
    hot = Sampling(temperature=1, min_p=0, max_new_tokens=4)
    after = Counter(
        generate(story_model, "Once upon a time", hot, seed).finish().text[len("Once upon a time") :][:1]
        for seed in range(40)
    )
    assert after[","] > 20
    assert not any(character.isalpha() for character in after), "the word is complete"


def test_a_word_that_is_complete_does_not_grow(story_model):
    hot = Sampling(temperature=1.5, min_p=0, max_new_tokens=3)
    for seed in range(30):
        text = generate(story_model, "a boy named Pac", hot, seed).finish().text
        assert not text[len("a boy named Pac") :][:1].isalpha()
    greedy = Sampling(temperature=0, max_new_tokens=8)
    opened = generate(story_model, "Once upon a ti", greedy, continue_word=True).finish().text
    assert opened.startswith("Once upon a time,")
    (written,) = aurelius.stories(story_model, 1, "Once upon a ti", sampling=greedy, continue_word=True)
    assert written.text == opened


def test_a_prompt_that_nearly_fills_the_context(story_model):
    """Longer spellings of its last word would not fit; the story may have room for a token or for none."""
    for length in range(story_model.context - 8, story_model.context - 2):
        ids = story_model.encode("the dog " * story_model.context)[:length]
        prompt = story_model.decode(ids) + "promised"
        fits = len(story_model.prefix) + len(story_model.encode(prompt)) < story_model.context
        if fits:
            assert generate(story_model, prompt, seed=1, max_new_tokens=0).finish().text.startswith(prompt)
        else:
            with pytest.raises(ModelError, match="shorten it"):
                generate(story_model, prompt, seed=1, max_new_tokens=0)


def test_typed_whitespace_is_kept(story_model):
    hot = Sampling(temperature=1, min_p=0, max_new_tokens=3)
    for prompt in ("It was time ", "It was time.\n", "It was time.\n\n"):
        for seed in range(20):
            story = "".join(generate(story_model, prompt, hot, seed))
            assert not story or story.startswith(prompt[len(prompt.rstrip()) :])


def test_greedy_takes_the_likeliest_path(story_model):
    greedy = Sampling(temperature=0, max_new_tokens=8)
    assert generate(story_model, "Once upon a time", greedy).finish().text.startswith("Once upon a time,")


@pytest.fixture(scope="module")
def story_model(tiny_storyteller: Path):
    return open_model(tiny_storyteller, "cpu")
