"""The exported folder in transformers 4.57, in the environment that ``make test-long`` makes for it."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PYTHON = Path(__file__).parents[2] / ".venv-4.57/bin/python"
TEXTS = ["Once upon a time", "Once upon a time  ", "", "a </s> b", "😀\n\nx", "One day, a girl"]

SCRIPT = """
import json, sys, torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, texts = sys.argv[1], json.loads(sys.argv[2])
model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
out = {"version": transformers.__version__, "class": type(tokenizer).__name__,
       "rope_theta": model.config.rope_theta, "ids": [], "logits": [],
       "special": sorted(tokenizer.all_special_ids), "keys": sorted(tokenizer("a b"))}
for text in texts:
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    out["ids"].append(ids[0].tolist())
    with torch.no_grad():
        out["logits"].append(model(ids).logits[0, -1].tolist())
print(json.dumps(out))
"""

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-4.57 here: make test-long makes it"),
]


def in_old(code: str, *arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run([PYTHON, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ids_and_logits_are_those_of_the_current_version(tiny_run: Path):
    folder = tiny_run / "export/huggingface"
    old = json.loads(in_old(SCRIPT, str(folder), json.dumps(TEXTS)))
    assert old["version"].startswith("4.57")
    assert old["rope_theta"] == 812.5
    assert old["special"] == [0, 1, 2, 3] and old["keys"] == ["attention_mask", "input_ids"]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for text, ids, logits in zip(TEXTS, old["ids"], old["logits"], strict=True):
        assert tokenizer(text)["input_ids"] == ids
        with torch.no_grad():
            ours = model(torch.tensor([ids])).logits[0, -1]
        assert (ours - torch.tensor(logits)).abs().max() <= 1e-5 * max(1.0, float(ours.abs().max()))


def test_the_cards_snippet_runs(tiny_run: Path):
    folder = tiny_run / "export/huggingface"
    snippet = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[0]
    assert in_old(snippet, cwd=folder).startswith("Once upon a time, a little boy named Paco ")
