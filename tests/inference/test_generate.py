import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from aurelius.errors import ModelError, RecipeError, TokenizerError
from aurelius.inference.generate import generate
from aurelius.inference.language_model import LanguageModel
from aurelius.inference.open_model import open_model
from aurelius.inference.prompt_end import Vocabulary
from aurelius.inference.sampling import Sampling

GREEDY = Sampling(temperature=0, max_new_tokens=20)


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> LanguageModel:
    return open_model(str(tiny_run), "cpu")


class Script:
    """A language model that writes given ids."""

    def __init__(self, model: LanguageModel, ids: list[int], context: int = 48):
        self.name, self.context, self.vocab_size, self.parameters = "script", context, model.vocab_size, 0
        self.prefix, self.end, self.unknown, self.suppressed = [3, 0], 1, 2, [0, 2, 3]
        self.sampling: Sampling = Sampling()
        self.vocabulary: Vocabulary | None = None
        self.encode, self.decode = model.encode, model.decode
        self.ids, self.fed = iter(ids), []

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def new_cache(self) -> list[int]:
        return []

    def rewind(self, cache: list[int], length: int) -> None:
        del cache[length:]

    def next_token_logits(self, ids: list[int], cache: list[int]) -> np.ndarray:
        cache += ids
        self.fed.append(list(cache))
        logits = np.zeros(self.vocab_size, np.float32)
        logits[self.suppressed] = 2.0  # tempting, but never to be generated
        logits[next(self.ids)] = 1.0
        return logits


def test_greedy_text_is_stock_generates(tiny_run: Path):
    folder = tiny_run / "export/huggingface"
    stock: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    for prompt in ("Once upon a time", "One day, ", ""):
        inputs = tokenizer(prompt, return_tensors="pt")
        out = stock.generate(**inputs, do_sample=False, max_new_tokens=20, suppress_tokens=[0, 2, 3])
        expected = tokenizer.decode(out[0], skip_special_tokens=True).strip()
        for ours in (open_model(tiny_run, "cpu"), open_model(folder, "cpu")):
            ours.vocabulary = None  # so that the prompt ends as it is encoded
            text = "".join(generate(ours, prompt, GREEDY))
            assert (prompt.rstrip() + text).strip() == expected


def test_single_values_of_the_sampling_may_be_passed(model: LanguageModel):
    greedy = "".join(generate(model, "Once", GREEDY))
    assert "".join(generate(model, "Once", temperature=0, max_new_tokens=20)) == greedy
    assert "".join(generate(model, "Once", GREEDY, max_new_tokens=3)) == greedy[:0] + "".join(
        generate(model, "Once", Sampling(temperature=0, max_new_tokens=3))
    )
    with pytest.raises(RecipeError, match="temprature = 1"):  # at the call, not at the first piece
        generate(model, "Once", temprature=1)
    with pytest.raises(RecipeError, match="min_p = 2"):
        generate(model, "Once", min_p=2)


def test_a_seed_is_drawn_unless_it_is_given(model: LanguageModel):
    hot = Sampling(temperature=2, min_p=0, max_new_tokens=20)
    assert len({"".join(generate(model, "Once", hot)) for _ in range(4)}) > 1
    assert len({"".join(generate(model, "Once", hot, seed=1)) for _ in range(4)}) == 1


def test_pieces_never_show_special_tokens_or_outer_spaces(model: LanguageModel):
    words = model.encode("the cat, and a dog. ")
    pieces = list(generate(Script(model, [*words, 1, *words]), "Once ", GREEDY))
    assert "Once" + "".join(pieces) == "Once the cat, and a dog."
    assert all(not piece.endswith(" ") for piece in pieces)
    pieces = list(generate(Script(model, [*model.encode(" the cat"), 1]), "", GREEDY))
    assert "".join(pieces) == "the cat"


def test_a_character_of_several_tokens_appears_whole(model: LanguageModel):
    smile = model.encode("😀")
    assert len(smile) > 4
    pieces = list(generate(Script(model, [*smile, *model.encode("the"), 1]), "a", GREEDY))
    assert "".join(pieces) == " 😀 the" and not any("\ufffd" in piece for piece in pieces)


def test_beyond_the_context_it_continues_from_the_last_half(model: LanguageModel):
    word = model.encode("the ")[0]
    script = Script(model, [word] * 100, context=16)
    text = "".join(generate(script, "the the", Sampling(temperature=0, max_new_tokens=60)))
    assert text == " the" * 60
    assert all(len(fed) <= 16 and fed[:2] == [3, 0] for fed in script.fed)


def test_a_prompt_longer_than_the_context(model: LanguageModel):
    script = Script(model, [*model.encode("end"), 1], context=16)
    assert "".join(generate(script, "the " * 100, GREEDY)) == " end"
    assert len(script.fed[0]) == 2 + 8


def test_a_seed_is_a_story(model: LanguageModel):
    def story(seed: int) -> str:
        return "".join(
            generate(model, "One day", Sampling(temperature=1.0, min_p=0, max_new_tokens=20), seed)
        )

    assert story(1) == story(1)
    assert len({story(seed) for seed in range(5)}) > 1


def test_refusals(model: LanguageModel):
    with pytest.raises(TokenizerError, match="surrogate"):
        list(generate(model, "\ud83d"))
    bare = Script(model, [])
    bare.prefix = []
    with pytest.raises(ModelError, match="pass a prompt"):
        list(generate(bare, ""))


@pytest.mark.parametrize("name", ["missing", "hf_"])
def test_no_such_model(name: str, tmp_path: Path):
    with pytest.raises(ModelError, match="does not exist"):
        open_model(str(tmp_path / name))
    with pytest.raises(ModelError, match="has neither"):
        open_model(str(tmp_path))


def test_a_special_token_in_the_prompt_is_text_by_default(model: LanguageModel):
    assert model.encode("a </s> b").count(1) == 0
    assert model.encode("a </s> b", parse_special=True).count(1) == 1
    assert model.encode("a </s> b").count(1) == 0, "asking once changes nothing afterwards"
    shown = "".join(generate(model, "Once </s>", parse_special=True, seed=2))
    assert "</s>" not in shown


def test_a_story_that_its_limit_cuts_ends_with_a_sentence(model: LanguageModel):
    words = model.encode('the cat sat. "the dog ran!" the cat ')
    for most in range(len(words) // 2, 3 * len(words)):
        story = generate(Script(model, words * 4), "Once ", Sampling(temperature=0, max_new_tokens=most))
        text = story.finish().text
        written = "Once " + model.decode((words * 4)[:most])
        assert (story.ended, story.tokens) == (False, most)
        assert written.startswith(text)
        stretch = written[len("Once " + model.decode((words * 4)[: most - most // 4])) :]
        assert text.endswith((".", "!", '!"')) or not re.search(r"[.!]", stretch)


def test_a_story_without_sentences_ends_with_a_word(model: LanguageModel):
    words = model.encode("elephant " * 30)
    for most in range(1, 40):
        story = generate(Script(model, words), "An ", Sampling(temperature=0, max_new_tokens=most)).finish()
        assert set(story.text.split()) <= {"An", "elephant"}
