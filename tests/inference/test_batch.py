"""Many stories at once are those that are written one by one."""

import json
from pathlib import Path

import pytest

import aurelius
from aurelius.errors import MemoryExhausted, ModelError, RunError
from aurelius.inference.batch import Request, Written, write_stories
from aurelius.inference.generate import generate
from aurelius.inference.llama_model import LlamaModel
from aurelius.inference.open_model import open_model
from aurelius.inference.sampling import Sampling
from aurelius.inference.stories import _check
from aurelius.inference.story_file import write_story_file
from aurelius.inference.transformers_model import TransformersModel

WARM = Sampling(temperature=1, min_p=0.05)
PROMPTS = ("Once upon a time", "", "The old dog ", 'One day, Mia said "')


@pytest.fixture(scope="module")
def model(tiny_storyteller: Path) -> LlamaModel:
    opened = open_model(tiny_storyteller)
    assert isinstance(opened, LlamaModel)
    return opened


def requests(count: int) -> list[Request]:
    return [Request(n, PROMPTS[n % len(PROMPTS)], n) for n in range(count)]


def written(
    model: LlamaModel, wanted: list[Request], sampling: Sampling = WARM, width: int = 8
) -> dict[int, Written]:
    return {story.number: story for story in write_stories(model, wanted, sampling, width=width)}


@pytest.mark.parametrize("most", [0, 9, 80])  # the context, less, and more
def test_each_is_the_single_stream(model: LlamaModel, most: int):
    sampling = WARM.model_copy(update={"max_new_tokens": most})
    for number, story in written(model, requests(20), sampling, width=8).items():
        single = generate(model, story.prompt, sampling, story.seed).finish()
        assert (story.text, story.tokens, story.ended) == (single.text, single.tokens, single.ended), number


def test_a_story_depends_neither_on_its_neighbours_nor_on_their_number(model: LlamaModel):
    all_of_them = written(model, requests(40), width=8)
    alone = written(model, requests(40)[17:18], width=8)
    backwards = written(model, requests(40)[::-1], width=8)
    assert alone[17] == all_of_them[17]
    assert backwards == all_of_them


def test_other_models_write_one_after_the_other(tiny_storyteller: Path):
    folder = str(tiny_storyteller / "export/huggingface")
    model = TransformersModel(folder, "cpu")
    few = list(aurelius.stories(model, 2, "One day", sampling=WARM))
    assert [story.text for story in few] == [
        generate(model, "One day", WARM, seed).finish().text for seed in range(2)
    ]


def test_several_processes_write_the_same(tiny_storyteller: Path):
    how = {"count": 40, "prompt": ["One day", "The"], "seed": 3, "sampling": WARM}  # for more than one batch
    together, alone = (list(aurelius.stories(tiny_storyteller, workers=n, **how)) for n in (2, 1))
    assert sorted(together, key=lambda s: s.number) == sorted(alone, key=lambda s: s.number)
    assert {(s.prompt, s.seed) for s in alone} == {
        (p, seed) for p in ("One day", "The") for seed in range(3, 43)
    }
    with pytest.raises(ModelError, match="pass its path"):
        aurelius.stories(open_model(tiny_storyteller), 70, workers=2)


def test_a_prompt_without_room_is_named_before_anything_is_written(tiny_storyteller: Path):
    with pytest.raises(ModelError, match=r"prompt 2, 'the the .*shorten it"):
        aurelius.stories(tiny_storyteller, 1, ["One", "the " * 100], max_new_tokens=0)


def test_a_worker_that_is_killed_or_fails():
    with pytest.raises(MemoryExhausted, match="was killed"):
        _check([None, -9])
    with pytest.raises(RunError, match="__main__"):
        _check([0, 1])
    _check([0, None])


def story(number: int) -> Written:
    return Written(number, "p", number, f"story {number}\u2028 of {number}", 3, True)


def test_a_file_of_stories_is_continued(tmp_path: Path):
    out, settings = tmp_path / "new/stories.jsonl", {"seed": 0, "count": 4}

    def interrupted(skip: set[int]):
        yield story(2)
        yield story(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_story_file(out, settings, 4, interrupted)
    partial = out.with_name("stories.jsonl.partial")
    assert not out.exists()
    with partial.open("a") as file:
        file.write('{"number": 1, "pro')  # cut off by a power failure
    with pytest.raises(RunError, match=r"different settings \(seed was 0, now 1\)"):
        write_story_file(out, {**settings, "seed": 1}, 4, interrupted)
    asked = []

    def rest(skip: set[int]):
        asked.append(skip)
        return (story(number) for number in range(4) if number not in skip)

    assert write_story_file(out, settings, 4, rest) == [story(number) for number in range(4)]
    assert asked == [{0, 2}] and not partial.exists()
    lines = [json.loads(line) for line in out.read_text().split("\n") if line]
    assert [line["text"] for line in lines] == [story(number).text for number in range(4)]
    with pytest.raises(RunError, match="exists already"):
        write_story_file(out, settings, 4, rest)


def test_a_damaged_file_of_stories_is_refused(tmp_path: Path):
    out = tmp_path / "stories.jsonl"
    out.with_name("stories.jsonl.partial").write_text("{}\nnot JSON\n")
    with pytest.raises(RunError, match=r"stories.jsonl.partial is damaged .*delete it"):
        write_story_file(out, {}, 1, lambda skip: [])
