import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForLanguageModeling, pipeline

from aurelius.config.recipe import Recipe
from aurelius.export import huggingface
from aurelius.export.card import conversion
from aurelius.model.checkpoint_folder import load_model, newest_checkpoint
from aurelius.model.llama import Llama
from aurelius.parity import check
from aurelius.special_tokens import SpecialTokens
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
    for text in ("Once upon a time", "a < b > c", "", "😀\n\nx  "):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        assert ids[0].tolist() == own.encode(text).ids
        with torch.no_grad():
            expected = stock(ids).logits
            assert (ours(ids) - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))


def test_transformers_reads_the_configuration_correctly(tiny, folder: Path):
    stock, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert stock.config.rope_parameters["rope_theta"] == tiny.model.rope_theta
    generation = stock.generation_config
    assert (generation.do_sample, generation.temperature, generation.min_p) == (True, 1.0, 0.15)
    assert (generation.eos_token_id, generation.pad_token_id) == (1, 2)
    assert (generation.max_new_tokens, generation.max_length) == (None, tiny.model.context)
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


def test_typed_special_tokens_are_tokens_as_fine_tuning_expects(tiny_run: Path, folder: Path):
    """Concatenated stories gain no token for the space after ``</s>``; as text, our own ids are the same."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    own = tokenizers.load(tiny_run / "tokenizer/tokenizer.json")

    def ids(text: str) -> list[int]:
        return own.encode(text, add_special_tokens=False).ids

    dog, cat = ids("A dog ran."), ids("Then a cat sat.")
    for text in ("A dog ran.</s>", "A dog ran. </s>", "A dog ran. </s>\n"):
        assert tokenizer(text).input_ids == [3, 0, *dog, 1], text
    for text in ("A dog ran.</s>Then a cat sat.", "A dog ran. </s> Then a cat sat. "):
        assert tokenizer(text).input_ids == [3, 0, *dog, 1, *cat], text
    for text in ("<sink><s>A dog ran.", "<sink> <s> A dog ran."):
        assert tokenizer(text, add_special_tokens=False).input_ids == [3, 0, *dog], text
    typed = "a </s> b <s> c <sink> d <unk> <0x41>"
    assert tokenizer(typed, split_special_tokens=True).input_ids == own.encode(typed).ids
    assert own.encode(typed).ids == tokenizers.load(folder / "tokenizer.json").encode(typed).ids


def test_the_published_tokenizer_decodes_as_ours(tiny_run: Path, folder: Path):
    published, own = (
        tokenizers.load(each) for each in (folder / "tokenizer.json", tiny_run / "tokenizer/tokenizer.json")
    )
    for text in check.HARD_TEXTS:
        found = own.encode(text).ids
        assert published.encode(text).ids == found
        for ids in (found, found[:-1], found[3:]):  # also parts of characters
            for skip in (True, False):
                assert published.decode(ids, skip_special_tokens=skip) == own.decode(
                    ids, skip_special_tokens=skip
                )


def test_a_saved_copy_is_the_same_tokenizer(folder: Path, tmp_path: Path):
    """transformers 5 leaves ``add_bos_token`` out, which it does not need."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(tmp_path)
    saved = AutoTokenizer.from_pretrained(tmp_path)
    for text in (*check.HARD_TEXTS, "A dog ran. </s> Then"):
        assert saved(text).input_ids == tokenizer(text).input_ids
    assert (saved.pad_token_id, saved.padding_side) == (2, "left")
    assert json.loads((folder / "tokenizer_config.json").read_text())["add_bos_token"] is True


def test_the_collator_leaves_the_end_token_to_learn(folder: Path):
    """The usual recipe: text + end token, padded, with padding masked."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [tokenizer(text + tokenizer.eos_token) for text in ("A dog ran.", "A dog ran to a cat.")]
    batch = DataCollatorForLanguageModeling(tokenizer, mlm=False)(rows)
    for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        assert labels[-1] == ids[-1] == tokenizer.eos_token_id and mask[-1] == 1
        assert labels[mask == 0].eq(-100).all() and labels[mask == 1].eq(ids[mask == 1]).all()


def test_a_length_that_the_user_passes_counts(folder: Path, capfd):
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer("Once upon a time", return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    model.generation_config.eos_token_id = None  # nothing else ends it
    capfd.readouterr()
    assert model.generate(**inputs).shape[1] == tokenizer.model_max_length
    assert model.generate(**inputs, max_length=length + 5).shape[1] == length + 5
    assert "max_new_tokens" not in capfd.readouterr().err, "no warning"
    assert model.generate(**inputs, max_new_tokens=3).shape[1] == length + 3


def test_the_reference_cards_snippet_works(folder: Path):
    """It pads with the end token, and passes the number of new tokens."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer("Once upon a time", return_tensors="pt")
    outputs = model.generate(
        **inputs,
        max_new_tokens=24,
        do_sample=True,
        temperature=0.5,
        min_p=0.15,
        pad_token_id=tokenizer.eos_token_id,
    )
    assert tokenizer.decode(outputs[0], skip_special_tokens=True).startswith("Once upon a time ")


def test_an_imported_tokenizer_is_published_as_it_is(stories260k: Path):
    content = (stories260k / "tokenizer.json").read_bytes()
    tokenizer = tokenizers.load(stories260k / "tokenizer.json")
    assert huggingface.published_tokenizer(content, tokenizer) == content
    special = SpecialTokens(begin=1, end=2, lead=1, unknown=0)
    config = huggingface.tokenizer_config(Recipe.load("pico"), special, tokenizer)
    assert config["pad_token"] == "<unk>" and "add_prefix_space" not in config
    assert "Do not use llama.cpp's `convert_hf_to_gguf.py`" in conversion(tokenizer)


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
