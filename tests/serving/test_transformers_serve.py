"""The exported folder behind `transformers serve`, asked by the real OpenAI client."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.server import serving

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def client(story_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pytest.importorskip("openai")
    pytest.importorskip("fastapi")
    folder, log = story_run / "export/huggingface", tmp_path_factory.mktemp("serve") / "log"
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(folder), "--device", "cpu"]
    with serving(command, "/health", log) as client:
        yield client


def test_a_completion_is_what_generate_writes(client: Any, story_run: Path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = story_run / "export/huggingface"
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    prompt = "Once upon a time, there was a little"
    inputs = tokenizer(prompt, return_tensors="pt")
    ids = model.generate(**inputs, do_sample=False, max_new_tokens=30)[0, inputs.input_ids.shape[1] :]
    expected = tokenizer.decode(ids, skip_special_tokens=True)
    answer = client.completions.create(model=str(folder), prompt=prompt, max_tokens=30, temperature=0)
    assert answer.choices[0].text == expected
    assert answer.usage.prompt_tokens == inputs.input_ids.shape[1], "with <sink> <s>"


def test_it_streams(client: Any, story_run: Path):
    folder = str(story_run / "export/huggingface")
    asked = {"model": folder, "prompt": "One day,", "max_tokens": 20, "temperature": 0}
    whole = client.completions.create(**asked).choices[0].text
    pieces = [chunk.choices[0].text for chunk in client.completions.create(**asked, stream=True)]
    assert "".join(pieces) == whole and len(pieces) > 3
