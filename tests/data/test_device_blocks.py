import torch
from hypothesis import given
from hypothesis import strategies as st

from aurelius.data.blocks import Blocks
from aurelius.data.device_blocks import DeviceBlocks
from aurelius.data.store import TokenStore
from aurelius.special_tokens import PREFIXES
from tests.data.test_blocks import cases, shares, store


@given(cases, shares, st.integers(0, 60), st.integers(1, 12), st.sampled_from([*PREFIXES]))
def test_blocks_cut_on_the_device_are_the_same(case, share: float, first: int, count: int, prefix: str):
    lengths, context, seed = case
    stories = store(lengths)
    stories = TokenStore(stories.ids, stories.starts, special=PREFIXES[prefix])
    blocks = Blocks(stories, context, seed, share)
    feed = DeviceBlocks(blocks, torch.device("cpu"))
    for ours, theirs in zip(feed.cut_on_device(first, count), blocks.batch(first, count), strict=True):
        assert torch.equal(ours, torch.from_numpy(theirs))
