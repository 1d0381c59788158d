"""Fine-tuning the published folder with the usual recipes, in the real libraries: do stories still end?"""

import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
    set_seed,
)

from aurelius.data.stories import StoryFile
from tests.conftest import SHARED

pytestmark = pytest.mark.long

STEPS = 80
STORIES = 20  # that are generated
REAL = SHARED / "data/tinystories/TinyStoriesV2-GPT4-valid.sample.txt"


@pytest.fixture(scope="module")
def folder(story_run: Path) -> Path:
    return story_run / "export/huggingface"


@pytest.fixture(scope="module")
def stories(story_run: Path) -> list[str]:
    """Return short stories, of another kind than those of training if the shared data is here."""
    found = (
        REAL.read_text(encoding="utf-8").split("<|endoftext|>")
        if REAL.exists()
        else StoryFile(story_run / "corpus", "valid")
    )
    return [text for story in found if 100 < len(text := story.strip()) < 900][:300]


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    return {
        "output_dir": str(tmp_path / "tuned"),
        "max_steps": STEPS,
        "per_device_train_batch_size": 8,
        "learning_rate": 2e-3,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
    }


def ended(model: Any, tokenizer: Any) -> int:
    """Return how many of 20 stories end before they fill the context."""
    set_seed(0)
    inputs = tokenizer(["Once upon a time", "One day"] * (STORIES // 2), return_tensors="pt", padding=True)
    with torch.no_grad():
        texts = model.eval().generate(**inputs)
    return sum(tokenizer.eos_token_id in ids[inputs.input_ids.shape[1] :] for ids in texts)


def train(folder: Path, texts: list[str], settings: dict[str, Any], **changes: Any) -> int:
    """Train as most tutorials do: text + end token, padded to the longest of a batch."""
    set_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder, **changes)
    model = AutoModelForCausalLM.from_pretrained(folder)
    Trainer(
        model=model,
        args=TrainingArguments(**settings),
        train_dataset=[tokenizer(text, truncation=True) for text in texts],  # pyright: ignore[reportArgumentType]
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
    ).train()
    return ended(model, tokenizer)


def test_trainer_learns_to_stop(folder: Path, stories: list[str], settings: dict[str, Any]):
    texts = [story + "</s>" for story in stories]
    assert train(folder, texts, settings) >= STORIES - 2
    if (
        REAL.exists()
    ):  # On stories of the kind it was trained on, a model keeps what it knew about their ends.
        # The measure can fail: with the end token as padding, the model does not learn to stop.
        assert train(folder, texts, settings, pad_token="</s>") <= STORIES // 2


def test_concatenated_stories_teach_to_stop(folder: Path, stories: list[str], settings: dict[str, Any]):
    dice = random.Random(0)
    pairs = [dice.sample(stories, 2) for _ in stories]
    assert train(folder, [f"{a}</s> {b}</s>" for a, b in pairs], settings) >= STORIES - 2


@pytest.mark.parametrize("lora", [False, True], ids=["all weights", "LoRA"])
def test_trl_learns_to_stop_out_of_the_box(
    folder: Path, stories: list[str], settings: dict[str, Any], lora: bool
):
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    changes: dict[str, Any] = {}
    if lora:
        config = pytest.importorskip("peft").LoraConfig(r=16, target_modules="all-linear")
        changes, settings["learning_rate"] = {"peft_config": config}, 1e-2
    set_seed(0)
    trainer = trl.SFTTrainer(
        model=str(folder),
        args=trl.SFTConfig(**settings, activation_checkpointing=False),  # a third faster
        train_dataset=datasets.Dataset.from_dict({"text": stories}),
        **changes,
    )
    trainer.train()
    assert ended(trainer.model, AutoTokenizer.from_pretrained(folder)) >= STORIES - 2


def test_the_cards_snippet_teaches_to_stop(folder: Path, stories: list[str], tmp_path: Path):
    """As it is on the card, but with these stories; what it saves is a complete model folder."""
    card = (folder / "README.md").read_text()
    snippet = next(code for code in re.findall(r"```python\n(.*?)```", card, re.S) if "Trainer(" in code)
    snippet = re.sub(r"(?m)^stories = .*$", lambda _: f"stories = {stories[:200]!r}", snippet)
    snippet = snippet.replace('path = "."', f"path = {str(folder)!r}")
    command = [sys.executable, "-"]
    done = subprocess.run(command, input=snippet, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    model, tokenizer = (
        kind.from_pretrained(tmp_path / "tuned") for kind in (AutoModelForCausalLM, AutoTokenizer)
    )
    assert ended(model, tokenizer) >= STORIES - 2
