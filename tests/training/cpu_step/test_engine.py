import torch
from hypothesis import given
from hypothesis import strategies as st

from aurelius.model.llama import story_numbers
from aurelius.special_tokens import BOS
from aurelius.training.cpu_step.engine import chunks, story_bounds


@given(st.integers(1, 4), st.integers(1, 40), st.integers(0, 100))
def test_stories_begin_where_the_plain_model_says(B: int, T: int, seed: int):
    random = torch.Generator().manual_seed(seed)
    ids = torch.where(torch.rand(B, T, generator=random) < 0.2, BOS, 9)
    numbers = story_numbers(ids)
    begins = torch.ones(B, T, dtype=torch.bool)
    begins[:, 1:] = numbers.diff() != 0
    assert story_bounds(ids.numpy(), BOS) == [*begins.flatten().nonzero().flatten().tolist(), B * T]
    assert story_bounds(ids.numpy(), None) == list(range(0, B * T + 1, T))


@given(st.lists(st.integers(1, 50), max_size=20))
def test_stories_are_gathered_without_a_loss(lengths: list[int]):
    stories, at = [], 0
    for length in lengths:
        stories.append((at, at + length))
        at += length
    found = list(chunks(stories, 50))
    assert [story for chunk in found for story in chunk] == stories
    assert all(0 < sum(b - a for a, b in chunk) <= 50 for chunk in found)
