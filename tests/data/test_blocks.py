from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelius.corpus import build as corpus
from aurelius.data.blocks import Blocks
from aurelius.data.store import TokenStore
from aurelius.data.stories import read_stories
from aurelius.errors import RunError
from aurelius.special_tokens import BOS, EOS, IGNORE_INDEX, PREFIXES, SINK
from aurelius.tokenizer import build, pack
from aurelius.tokenizer.load import load


def store(lengths: list[int]) -> TokenStore:
    """Make stories whose inner tokens are all different, from 4 on."""
    starts, ids, fresh = [0], [], 4
    for length in lengths:
        ids += [BOS, *range(fresh, fresh + length), EOS]
        fresh += length
        starts.append(len(ids))
    return TokenStore(np.array(ids, dtype=np.uint16), np.array(starts))


cases = st.tuples(
    st.lists(st.integers(0, 40), min_size=1, max_size=30), st.integers(2, 25), st.integers(0, 2**40)
).filter(lambda case: sum(n + 2 for n in case[0]) >= case[1])


@given(cases, st.integers(0, 3))
def test_each_token_is_a_target_once_per_epoch(case, epoch):
    lengths, context, seed = case
    stories = store(lengths)
    blocks = Blocks(stories, context, seed)
    inputs, targets = blocks.batch(epoch * blocks.per_epoch, blocks.per_epoch)
    assert (inputs[:, 0] == SINK).all()
    assert (inputs[:, 1:] != SINK).all()
    # Independent: lay the whole epoch out by looking at which story each first token belongs to.
    stream = np.where(targets == IGNORE_INDEX, BOS, targets).ravel()
    assert (np.where(targets == IGNORE_INDEX, BOS, targets)[:, :-1] == inputs[:, 1:]).all()
    documents = [stories.ids[a:b].tolist() for a, b in zip(stories.starts, stories.starts[1:], strict=False)]
    left = sorted(map(tuple, documents))
    at = 0
    while at < len(stream):
        fits = [d for d in left if tuple(stream[at : at + len(d)]) == d[: len(stream) - at]]
        assert fits, "the stream is whole stories one after another"
        left.remove(fits[0])
        at += len(fits[0])
    assert sum(map(len, left)) < context or at > len(stream), "only the last partial block is left out"
    assert len(stories.ids) - len(stream) < context


@given(cases)
def test_without_a_leading_token_a_block_begins_with_its_piece(case):
    lengths, context, seed = case
    led = store(lengths)
    bare = TokenStore(led.ids, led.starts, special=PREFIXES["begin"])
    blocks = Blocks(bare, context, seed)
    inputs, targets = blocks.batch(0, blocks.per_epoch)
    _, stream = Blocks(led, context, seed).batch(0, blocks.per_epoch)
    assert (np.where(inputs == BOS, IGNORE_INDEX, inputs) == stream).all()
    assert (targets[:, :-1] == stream[:, 1:]).all()
    assert (targets[:, -1] == IGNORE_INDEX).all(), "its target is the first input of the next block"


shares = st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0])


@given(cases, shares)
def test_a_share_of_the_blocks_begins_with_a_story(case, share: float):
    lengths, context, seed = case
    stories = store(lengths)
    blocks = Blocks(stories, context, seed, share)
    stream = np.concatenate(
        [stories.ids[stories.starts[d] : stories.starts[d + 1]] for d in blocks.epoch(0).order]
    )
    positions = blocks.epoch(0).block_starts
    assert positions[0] == 0 and positions[-1] + context <= len(stream)
    for n, (before, position) in enumerate(pairwise(positions), 1):
        if int((n + 1) * share) > int(n * share):
            assert stream[position] == BOS and BOS not in stream[before + context : position]
        else:
            assert position == before + context
    begun = sum(blocks.piece(n)[0] == BOS for n in range(len(positions)))
    assert begun >= int(len(positions) * share)


@given(cases, shares, st.integers(0, 4))
def test_blocks_are_located_one_epoch_after_another(case, share: float, epoch: int):
    lengths, context, seed = case
    blocks = Blocks(store(lengths), context, seed, share)
    sizes = [len(blocks.epoch(n).block_starts) for n in range(epoch + 1)]
    first = sum(sizes[:-1])
    fresh = Blocks(store(lengths), context, seed, share)
    assert fresh.locate(first) == (epoch, 0)
    assert fresh.locate(first + sizes[-1] - 1) == (epoch, sizes[-1] - 1)
    assert fresh.locate(0) == (0, 0)


@given(cases, st.data())
def test_a_block_is_always_the_same(case, data):
    lengths, context, seed = case
    stories = store(lengths)
    number = data.draw(st.integers(0, 5 * Blocks(stories, context, seed).per_epoch))
    straight = Blocks(stories, context, seed)
    for n in range(number):
        straight.piece(n)
    assert (straight.piece(number) == Blocks(stories, context, seed).piece(number)).all()


def test_epochs_and_seeds_are_shuffled_differently():
    stories = store([5] * 50)
    a, b = Blocks(stories, 16, 0), Blocks(stories, 16, 1)
    first, second = (a.batch(n * a.per_epoch, a.per_epoch)[1] for n in (0, 1))
    assert (first != second).any()
    assert (first != b.batch(0, b.per_epoch)[1]).any()


def test_begin_is_never_a_target():
    blocks = Blocks(store([3] * 20), 10, 0)
    inputs, targets = blocks.batch(0, blocks.per_epoch)
    assert (inputs == BOS).any() and not (targets == BOS).any() and (targets == IGNORE_INDEX).any()


def test_too_few_tokens_for_a_block():
    with pytest.raises(RunError, match="less than one block of 64"):
        Blocks(store([3]), 64, 0)


def test_build_keeps_every_story(tiny, tmp_path: Path):
    corpus.build(tiny, tmp_path / "corpus")
    build.build(tiny, tmp_path / "corpus", tmp_path / "tokenizer")
    pack.build(tmp_path / "corpus", tmp_path / "tokenizer", tmp_path / "tokens")
    encoder = load(tmp_path / "tokenizer" / "tokenizer.json")
    for name in ("train", "valid"):
        stories, texts = TokenStore.open(tmp_path / "tokens", name), read_stories(tmp_path / "corpus", name)
        assert len(stories) == len(texts)
        for number, text in enumerate(texts):
            begin, *inner, end = stories.ids[stories.starts[number] : stories.starts[number + 1]].tolist()
            assert (begin, end) == (BOS, EOS)
            assert encoder.decode(inner) == text + " "


def test_damaged_stores_are_named(tmp_path: Path):
    with pytest.raises(RunError, match="cannot be read"):
        TokenStore.open(tmp_path, "train")
    np.save(tmp_path / "train.documents.npy", np.array([0, 9]))
    (tmp_path / "train.bin").write_bytes(b"\0\0" * 8)
    with pytest.raises(RunError, match="8 tokens, but its index"):
        TokenStore.open(tmp_path, "train")
