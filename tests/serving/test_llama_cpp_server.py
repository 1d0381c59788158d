"""The GGUF behind llama.cpp's server, where llama-cpp-python is installed (it compiles for minutes).

pip install 'llama-cpp-python[server]'
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aurelius.inference.open_model import open_model
from tests.serving.server import serving

pytestmark = pytest.mark.long

PROMPT = "Once upon a time, there was a little "


@pytest.fixture(scope="module")
def client(story_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    pytest.importorskip("openai")
    model = next((story_run / "export/gguf").glob("*-F32.gguf"))
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(model), "--n_ctx", "0"]
    with serving(command, "/v1/models", tmp_path_factory.mktemp("serve") / "log") as client:
        yield client


def test_its_log_probabilities_are_ours(client: Any, story_run: Path):
    answer = client.completions.create(
        model="any", prompt=f"<s>{PROMPT}", max_tokens=30, temperature=0, logprobs=1
    )
    choice, model = answer.choices[0], open_model(story_run / "export/huggingface")
    ids = [*model.prefix, *model.encode(PROMPT)]
    assert answer.usage.prompt_tokens == len(ids), "with <sink> <s>"
    cache, expected = model.new_cache(), []
    id_of = {model.decode([i]): i for i in range(model.vocab_size)}
    for token in choice.logprobs.tokens:
        logits = model.next_token_logits(ids, cache).astype(np.float64)
        ids = [id_of[token]]
        expected.append(logits[ids[0]] - np.logaddexp.reduce(logits))
    assert choice.logprobs.token_logprobs == pytest.approx(expected, abs=1e-3)
    assert choice.text == "".join(choice.logprobs.tokens)


def test_it_streams(client: Any):
    asked = {"model": "any", "prompt": "<s>One day, ", "max_tokens": 20, "temperature": 0}
    whole = client.completions.create(**asked).choices[0].text
    pieces = [chunk.choices[0].text for chunk in client.completions.create(**asked, stream=True)]
    assert "".join(pieces) == whole and len(pieces) > 3
