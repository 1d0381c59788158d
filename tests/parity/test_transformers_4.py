"""The exported folder in transformers 4.57, in the environment that ``make test-long`` makes for it."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

PYTHON = Path(__file__).parents[2] / ".venv-4.57/bin/python"
PROMPT = "One day, a girl"
EVERY = 26  # of the texts, one in so many is asked for its logits: some twenty
NEW = 60  # greedy tokens

SCRIPT = """
import json, sys, torch, transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline
folder, task, out = sys.argv[1:]
asked = json.load(open(task))
model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
ids = [tokenizer(text)["input_ids"] for text in asked["texts"]]
with torch.no_grad():
    chosen = range(0, len(ids), asked["every"])
    logits = {str(n): model(torch.tensor([ids[n][: tokenizer.model_max_length]])).logits[0] for n in chosen}
save_file(logits, out)
greedy = {"do_sample": False, "max_new_tokens": asked["new"]}
inputs = tokenizer(asked["prompt"], return_tensors="pt")
write = pipeline("text-generation", model=folder)
print(json.dumps({
    "version": transformers.__version__,
    "rope_theta": model.config.rope_theta,
    "special": sorted(tokenizer.all_special_ids),
    "keys": sorted(inputs),
    "ids": ids,
    "generated": model.generate(**inputs, **greedy)[0].tolist(),
    "limited": model.generate(**inputs, do_sample=False, max_length=12)[0].tolist(),
    "padding": [tokenizer.pad_token_id, model.generation_config.pad_token_id],
    "written": write(asked["prompt"] + " ", **greedy)[0]["generated_text"],
}))
"""

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-4.57 here: make test-long makes it"),
]


def in_old(code: str, *arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run([PYTHON, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ids_logits_and_stories_are_those_of_the_current_version(
    story_run: Path, parity_texts: list[str], tmp_path: Path
):
    folder, task, out = story_run / "export/huggingface", tmp_path / "task.json", tmp_path / "logits"
    texts = [*parity_texts, "A dog ran. </s> Then a cat sat.</s>", "<sink> <s> A dog ran."]
    task.write_text(json.dumps({"texts": texts, "every": EVERY, "prompt": PROMPT, "new": NEW}))
    old = json.loads(in_old(SCRIPT, str(folder), str(task), str(out)).splitlines()[-1])
    assert old["version"].startswith("4.57")
    assert old["rope_theta"] == 812.5
    assert old["special"] == [0, 1, 2, 3] and old["keys"] == ["attention_mask", "input_ids"]
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text, ids in zip(texts, old["ids"], strict=True):
        assert tokenizer(text)["input_ids"] == ids, text[:50]
    found = load_file(out)
    assert len(found) >= 20
    for number, logits in found.items():
        with torch.no_grad():
            ours = model(torch.tensor([old["ids"][int(number)][: len(logits)]])).logits[0]
        assert (ours - logits).abs().max() <= 1e-5 * max(1.0, float(ours.abs().max()))
    inputs = tokenizer(PROMPT, return_tensors="pt")
    story = model.generate(**inputs, do_sample=False, max_new_tokens=NEW)[0]
    assert old["generated"] == story.tolist()
    assert old["limited"] == story.tolist()[:12], "the length that the user passes counts"
    assert old["padding"] == [2, 2]
    assert old["written"] == tokenizer.decode(story, skip_special_tokens=True)


def test_the_cards_snippet_runs(story_run: Path):
    folder = story_run / "export/huggingface"
    snippet = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[0]
    assert in_old(snippet, cwd=folder).startswith("Once upon a time, a little boy named Paco ")
