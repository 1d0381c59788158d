"""Compiled code is used where it is right; elsewhere autograd is, and says so."""

from pathlib import Path

import pytest
import torch

from aurelius.config.recipe import Recipe
from aurelius.data.blocks import Blocks
from aurelius.data.store import TokenStore
from aurelius.model.checkpoint_folder import read_state
from aurelius.model.llama import Llama
from aurelius.training import engines
from aurelius.training.cpu_step.engine import CpuStep
from aurelius.training.loop import train
from aurelius.training.trainer import Trainer
from tests.training.test_loop import Listening


def test_both_train_the_same(tiny: Recipe, tiny_run: Path):
    blocks = Blocks(TokenStore.open(tiny_run / "tokens", "train"), tiny.model.context, 0)
    found = []
    for engine in ("auto", "autograd"):
        trainer = Trainer(tiny.with_(**{"training.engine": engine}), blocks, torch.device("cpu"))
        assert trainer.engine == ("numba" if engine == "auto" else "autograd") and not trainer.fallback
        figures = torch.stack([torch.stack(trainer.step()) for _ in range(5)])
        found.append((figures, trainer.model.state_dict()))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=0)
    for name, weight in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], weight, rtol=0, atol=2e-4)


def test_the_engine_is_recorded_and_another_one_is_told(tiny: Recipe, tiny_run: Path, tmp_path: Path):
    tokens = tiny_run / "tokens"
    short = tiny.with_(**{"training.checkpoint_every": 5})
    last = train(short, tokens, tmp_path, device="cpu")
    assert read_state(last)["engine"] == "numba"
    for path in sorted(tmp_path.glob("step-*"))[1:]:
        path.rename(path.with_suffix(".away"))
    progress = Listening()
    train(short.with_(**{"training.engine": "autograd"}), tokens, tmp_path, device="cpu", progress=progress)
    assert "engine numba (now autograd)" in " ".join(progress.warnings)


def test_a_changed_model_is_not_trained_as_the_old_one(tiny: Recipe, monkeypatch: pytest.MonkeyPatch):
    plain = Llama.hidden
    monkeypatch.setattr(Llama, "hidden", lambda self, *a, **k: plain(self, *a, **k) * 1.01)
    model = Llama(tiny.model, 420)
    model.initialise(0)
    reason = engines.compiled_step(model, 2)
    assert isinstance(reason, str) and "autograd's" in reason


def test_a_long_context_and_a_missing_compiler_have_a_reason(tiny: Recipe, monkeypatch: pytest.MonkeyPatch):
    model = Llama(tiny.model.model_copy(update={"context": 2048}), 420)
    assert "context of 2048" in str(engines.compiled_step(model, 1))

    def missing(*_: object) -> None:
        raise ImportError("numba needs another NumPy")

    monkeypatch.setattr(CpuStep, "__init__", missing)
    model = Llama(tiny.model, 420)
    assert engines.compiled_step(model, 1) == "ImportError: numba needs another NumPy"
