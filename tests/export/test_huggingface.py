import json
import re
import runpy
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from aurelius.config.recipe import Recipe
from aurelius.export import huggingface
from aurelius.model.checkpoint_folder import load_model, newest_checkpoint
from aurelius.model.llama import Llama
from aurelius.tokenizer import load as tokenizers
from aurelius.training import checkpoint


@pytest.fixture(scope="module")
def folder(tiny_run: Path) -> Path:
    return tiny_run / "export/huggingface"


def test_stock_transformers_loads_weights_and_tokenizer(tiny, tiny_run: Path, folder: Path):
    stock, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert type(stock).__name__ == "LlamaForCausalLM"
    assert stock.num_parameters() == tiny.parameters
    ours = load_model(tiny, newest_checkpoint(tiny_run / "training"))
    own = tokenizers.load(tiny_run / "tokenizer/tokenizer.json")
    for text in ("Once upon a time", "a </s> b", "", "😀\n\nx  "):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        assert ids[0].tolist() == own.encode(text).ids
        with torch.no_grad():
            expected = stock(ids).logits
            assert (ours(ids) - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))


def test_transformers_reads_the_configuration_correctly(tiny, folder: Path):
    stock, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert stock.config.rope_parameters["rope_theta"] == tiny.model.rope_theta
    generation = stock.generation_config
    assert (generation.do_sample, generation.temperature, generation.min_p) == (True, 0.5, 0.15)
    assert (generation.eos_token_id, generation.pad_token_id, generation.max_new_tokens) == (1, 1, 24)
    assert (tokenizer.padding_side, tokenizer.model_max_length) == ("left", tiny.model.context)
    assert set(tokenizer("a b")) == {"input_ids", "attention_mask"}
    assert set(tokenizer.all_special_ids) == {0, 1, 2, 3}
    raw = json.loads((folder / "config.json").read_text())
    assert raw["rope_theta"] == raw["rope_parameters"]["rope_theta"], "for transformers 4 and for 5"


def test_the_cards_snippet_runs_as_it_stands(folder: Path, tmp_path: Path, monkeypatch, capsys):
    snippet = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[0]
    (tmp_path / "snippet.py").write_text(snippet)
    monkeypatch.chdir(folder)
    runpy.run_path(str(tmp_path / "snippet.py"))
    assert capsys.readouterr().out.startswith("Once upon a time, a little boy named Paco ")


def test_the_pipeline_writes(folder: Path):
    write = pipeline("text-generation", model=str(folder), tokenizer=str(folder))
    # The pipeline glues its own copy of the prompt to the new text, so the prompt brings the space.
    text = write("Once upon a time ", max_new_tokens=8)[0]["generated_text"]  # pyright: ignore
    assert text.startswith("Once upon a time ")


def test_the_card_has_figures_and_cautions(tiny_run: Path, folder: Path):
    card = (folder / "README.md").read_text()
    report = json.loads((tiny_run / "evaluation/report.json").read_text())
    assert f"{report['documentwise']['bits_per_byte']:.4f}" in card
    assert "safety tuning" in card and "not affiliated with Meta" in card
    assert str(tiny_run) not in card, "no path of the author's machine"
    assert "{{" not in card and "{%" not in card


def test_exported_large_is_the_cards_model(tmp_path: Path, tiny_run: Path):
    """9,921,408 parameters in stock transformers, and the same logits."""
    recipe = Recipe.load("large")
    ours = Llama(recipe.model, recipe.tokenizer.vocab_size).eval()
    ours.initialise(0)
    step = checkpoint.write(tmp_path / "run/training", 1, ours, {}, {}, 1)
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.safetensors").write_bytes((step / "model.safetensors").read_bytes())
    (out / "config.json").write_text(json.dumps(huggingface.config(recipe)))
    stock = AutoModelForCausalLM.from_pretrained(out)
    assert stock.num_parameters() == 9_921_408
    ids = torch.randint(0, 1536, (1, 416))
    with torch.no_grad():
        assert (stock(ids).logits - ours(ids)).abs().max() <= 1e-5
