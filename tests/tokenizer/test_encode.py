import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from aurelius.config.settings import TokenizerSettings
from aurelius.corpus import storyteller
from aurelius.corpus.readers.sources import open_path
from aurelius.errors import TokenizerError
from aurelius.tokenizer.encode import Encoder
from aurelius.tokenizer.suffix_bpe import train

STORIES = list(storyteller.stories(300))
KINDS = [("portable", "separate"), ("portable", "glued"), ("reference", "separate"), ("reference", "glued")]
ODD = st.text(
    st.sampled_from(
        "aZ09' .,!\"\n\t\r\x0b\x1c\x1f\x7f\x85\xa0\u0300é“”’…—\u2028\u3000\ufeff\u200d中א🎈▁<>/s"
    ),
    max_size=40,
)


@pytest.fixture(scope="module")
def encoders() -> list[Encoder]:
    found = []
    for normalizer, split in KINDS:
        options = {"vocab_size": 700, "max_characters": 60, "normalizer": normalizer, "split": split}
        found.append(Encoder(train(STORIES, TokenizerSettings.model_validate(options))))
    return found


def check(encoder: Encoder, text: str) -> None:
    theirs = encoder.tokenizer.encode(text, add_special_tokens=False).ids
    assert np.frombuffer(encoder.encode(text), "<u2").tolist() == theirs, repr(text)


@settings(max_examples=500)
@given(st.one_of(ODD, st.text(max_size=30)))
@example("")
@example("   ")
@example("One.\n\n\nTwo.\n")
@example("One. \nTwo.\n Three.\n\n")
@example("One.\n\nTwo. </s> <sink>")
def test_ids_are_those_of_tokenizers(encoders: list[Encoder], text: str):
    for encoder in encoders:
        check(encoder, text)


def test_ids_of_real_stories(encoders: list[Encoder], train_sample: Path, valid_sample: Path):
    v1 = train_sample.with_name("TinyStories-v1-train.sample.jsonl")
    for encoder in encoders[:2]:
        for path in (train_sample, valid_sample, v1):
            texts = list(open_path(path).stories)
            theirs = encoder.tokenizer.encode_batch(texts, add_special_tokens=False)
            for text, expected in zip(texts, theirs, strict=True):
                assert np.frombuffer(encoder.encode(text), "<u2").tolist() == expected.ids


def test_a_pretoken_evicted_from_the_cache_is_encoded_again(encoders: list[Encoder], monkeypatch):
    monkeypatch.setattr("aurelius.tokenizer.encode.CACHE_SIZE", 3)
    for text in STORIES[:20]:
        check(encoders[0], text)


def test_foreign_tokenizers_encode_each_text_themselves(stories260k: Path):
    ours = json.loads(train(STORIES, TokenizerSettings(vocab_size=700, max_characters=60)).to_str())
    other_cut, other_end, more = (json.loads(json.dumps(ours)) for _ in range(3))
    other_cut["pre_tokenizer"]["pattern"]["Regex"] = r"\w+"
    other_end["normalizer"] = None
    more["added_tokens"].append({**ours["added_tokens"][0], "id": 700, "content": "girl", "special": False})
    foreign = [Tokenizer.from_str(json.dumps(rules)) for rules in (other_cut, other_end, more)]
    for tokenizer in [*foreign, Tokenizer.from_file(str(stories260k / "tokenizer.json"))]:
        tokenizer.encode_special_tokens = True
        for text in [*STORIES[:20], "the girl  ran \n", ""]:
            check(Encoder(tokenizer), text)


def test_more_ids_than_sixteen_bits_hold_are_refused():
    words = {f"word{n}": n for n in range(2**16 + 1)}
    with pytest.raises(TokenizerError, match="the tokenizer has 65,537 tokens"):
        Encoder(Tokenizer(models.WordLevel(words, unk_token="word0")))
