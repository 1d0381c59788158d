from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelius.config.settings import CorpusSettings
from aurelius.corpus.clean import drop_reason, repair, words_of
from aurelius.corpus.readers.sources import open_path

DEFAULT = CorpusSettings().clean
STORY = "Once there was a cat and she was very happy in the sun all day. Then it was night and she slept."


def refused(text: str, **options: Any) -> str | None:
    return drop_reason(text, words_of(text), CorpusSettings.model_validate({"min_words": 3} | options))


def test_line_ends_and_outer_whitespace_are_always_repaired():
    assert repair("\r\n One.  \r\nTwo\r \n\nThree \n", []) == ("One.  \nTwo\n \n\nThree", [])


@pytest.mark.parametrize(
    ("step", "before", "after"),
    [
        ("mojibake", "He said, â€œRun!â€\x9d and didnâ€™t stop.", "He said, “Run!” and didn’t stop."),
        # The closing quote's last byte is undefined in Windows-1252, and is often lost.
        ("mojibake", "â€œRun!â€ he said. â€œNow!â€", "“Run!” he said. “Now!”"),
        ("mojibake", "The cafÃ© was open.", "The café was open."),
        ("characters", "A\u200bcat\xa0sat\ufeff on\x07 it.", "Acat sat on it."),
        ("characters", "cafe\u0301", "café"),
        ("quotes", "“I can’t…” – she", '"I can\'t..." - she'),
        ("paragraphs", "One.  \n\n \nTwo.\nThree.", "One.\nTwo.\nThree."),
    ],
)
def test_each_repair_only_happens_on_request(step: Any, before: str, after: str):
    assert repair(before, [step]) == (after, [step])
    assert repair(before, [])[0] == before
    assert repair(after, [step]) == (after, [])


def test_the_default_leaves_quotes_and_paragraphs_alone():
    text = "“One.”\n\nTwo … three – four."
    assert repair(text, DEFAULT) == (text, [])


@given(st.text())
def test_repairing_twice_changes_nothing_more(text: str):
    once, _ = repair(text, DEFAULT)
    assert (
        repair(once, ["characters", "quotes", "paragraphs"])[0]
        == repair(
            repair(once, ["characters", "quotes", "paragraphs"])[0], ["characters", "quotes", "paragraphs"]
        )[0]
    )
    assert once == once.strip()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("One two.", "under 3 words"),
        ("word " * 30 + ".", "over 20 words"),
        ("once there was a cat and it was in the sun.", "truncated at the beginning"),
        ("Once there was a cat and it was in the", "truncated at the end"),
        ("Es war einmal eine kleine Katze und sie lebte allein.", "not English"),
        ("Il était une fois un petit chat qui aimait le soleil.", "not English"),
        ("See https://example.org for the story of a cat and the dog.", "not a story"),
        ("Summary: the cat and the dog went to the sun.", "not a story"),
        ("The 12 + 13 = 25; 14 * 15 = 210; (16 / 2) = 8; and so on.", "not a story"),
        ("He said, \ufffdI want to go to the sun.\ufffd And he was there.", "mojibake beyond repair"),
    ],
)
def test_what_is_dropped_and_why(text: str, reason: str):
    assert refused(text, max_words=20) == reason


@pytest.mark.parametrize(
    "text",
    [
        STORY,
        "“Stop!” she said to the cat. And it was very happy to stop.",
        "Once there was a cat and she was happy. The End",
        'Tom said to his mom, "I am so happy and you are too!"',
        "3 cats were in the sun and they were happy all the day…",
        "🐱 Once there was a cat and she was very happy in the sun. ❤️",
        "Once there was a cat and she was very happy in the sun! 👩‍👧",
        "*The Cat*\n\nOnce there was a cat and she was very happy in the sun. (The end.)",
    ],
)
def test_what_is_a_story(text: str):
    assert refused(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Жила-была кошка. Она спала.", None),
        ("жила-была кошка. Она спала.", "truncated at the beginning"),
        ("Жила-была кошка. Она", "truncated at the end"),
        ("Ήταν μια γάτα. Κοιμόταν πολύ.", None),
        ("Bir kedi vardı. Çok uyuyordu.", None),
        ("ήταν μια γάτα. Κοιμόταν.", "truncated at the beginning"),
        ("كانت هناك قطة. نامت كثيرا؟", None),
        ("एक बिल्ली थी। वह सो गई।", None),
        ("एक बिल्ली थी। वह सो", "truncated at the end"),
        ("猫 が いました。 寝ました。」", None),
    ],
)
def test_beginnings_and_ends_in_other_scripts(text: str, reason: str | None):
    assert refused(text, clean=["cut"]) == reason


def test_every_filter_can_be_switched_off():
    for text in (
        "once there was a cat and it was in the",
        "Es war einmal eine Katze allein.",
        "<| | {} [] ++ -- or that",
    ):
        assert refused(text, min_words=1)
        assert refused(text, min_words=1, clean=[]) is None


def test_nearly_all_real_stories_are_kept(valid_sample):
    """The official validation file is clean: what is refused there had better be few."""
    recipe = CorpusSettings()
    documents = list(open_path(valid_sample).stories)
    kept = [d for d in documents if drop_reason(repair(d, recipe.clean)[0], words_of(d), recipe) is None]
    assert len(kept) > 0.99 * len(documents)


def test_words_have_no_punctuation():
    assert words_of("“Don’t!” – she said…\nIt's_me") == [b"dont", b"she", b"said", b"its", b"me"]
