"""llama.cpp's own converter on the published folder: right where it can be, and refused where it cannot."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from transformers import AutoTokenizer

from aurelius.inference.run_model import RunModel
from aurelius.parity import check, node
from aurelius.parity.runtimes import llama_cpp

HERE = Path(__file__).parent
SCRIPT = HERE.parents[1] / ".llama.cpp/convert_hf_to_gguf.py"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not SCRIPT.exists(), reason="no .llama.cpp here: make test-long fetches it"),
]


def convert(folder: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(folder), "--outfile", str(out), "--outtype", "f32"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def saved(folder: Path, out: Path) -> Path:
    """Copy the folder as transformers saves it, which leaves ``tokenizer.model`` out."""
    AutoTokenizer.from_pretrained(folder).save_pretrained(out)
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(folder / name, out / name)
    return out


def test_its_gguf_has_the_same_ids_logits_and_stories(
    story_run: Path, parity_texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("sentencepiece")
    if not (HERE / "node/node_modules").is_dir():
        pytest.skip("no node_modules in tests/parity/node: make test-long installs them")
    monkeypatch.setenv("AURELIUS_NODE", str(HERE / "node"))
    done = convert(story_run / "export/huggingface", tmp_path / "converted.gguf")
    assert done.returncode == 0, done.stderr
    model = RunModel(story_run, "cpu")
    stories = ["A cat sat on a mat. The cat was happy.", "One day, a dog ran."]
    task = check.make_task(model, parity_texts, stories)
    own = check.own_answers(model, task)
    options = {"model": str(tmp_path / "converted.gguf")}
    answers = node.answer(llama_cpp.PACKAGE, llama_cpp.SCRIPT, options, task)
    assert answers.ids and own.ids
    for text, found, expected in zip(task.texts, answers.ids, own.ids, strict=True):
        assert (found == expected[len(model.prefix) :]) != ("▁" in text), text[:50]
    for found, expected in zip(answers.logits, own.logits, strict=True):
        assert np.abs(found - expected).max() < 1e-3
    assert answers.greedy == own.greedy


def test_it_puts_the_begin_token_before_a_prompt_and_no_space(story_run: Path, tmp_path: Path):
    pytest.importorskip("sentencepiece")
    assert convert(story_run / "export/huggingface", tmp_path / "converted.gguf").returncode == 0
    fields = GGUFReader(tmp_path / "converted.gguf").fields
    expected = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.add_space_prefix": False,
        "llama.rope.freq_base": 812.5,
    }
    assert {name: fields[name].contents() for name in expected} == expected


def test_without_tokenizer_model_it_refuses(story_run: Path, tmp_path: Path):
    """As after fine-tuning; it used to write a file in which all merges have the same score."""
    folder = saved(story_run / "export/huggingface", tmp_path / "saved")
    done = convert(folder, tmp_path / "converted.gguf")
    assert done.returncode != 0 and "BPE pre-tokenizer was not recognized" in done.stderr
    assert not (tmp_path / "converted.gguf").exists()
    pytest.importorskip("sentencepiece")
    shutil.copyfile(story_run / "export/huggingface/tokenizer.model", folder / "tokenizer.model")
    assert convert(folder, tmp_path / "converted.gguf").returncode == 0
