"""What runs on a GPU, compared with the CPU: `pytest -m cuda` where there is one."""

from pathlib import Path

import pytest
import torch

from aurelius.config.recipe import Recipe
from aurelius.data.blocks import Blocks
from aurelius.data.device_blocks import DeviceBlocks
from aurelius.data.store import TokenStore
from aurelius.evaluation.likelihood import measure
from aurelius.inference.generate import generate
from aurelius.inference.open_model import open_model
from aurelius.inference.sampling import Sampling
from aurelius.training.loop import train
from aurelius.training.trainer import Trainer

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
STEPS = 4


@pytest.fixture(scope="module")
def wide(tiny: Recipe) -> Recipe:
    """Return a shape with heads wide enough for every attention kernel; one layer compiles fastest."""
    return tiny.with_(**{"model.d_model": 64, "model.layers": 1})


@pytest.fixture(autouse=True)
def compiled_anew() -> None:
    """Reuse nothing that was compiled for the shapes or the precision of another test."""
    torch.compiler.reset()


def blocks_of(recipe: Recipe, run: Path) -> Blocks:
    settings = recipe.training
    return Blocks(
        TokenStore.open(run / "tokens", "train"), recipe.model.context, settings.seed, settings.story_start
    )


def trained(recipe: Recipe, run: Path, device: torch.device, **how) -> tuple[list[float], torch.Tensor]:
    """Return the losses of a few steps and the weights after them."""
    trainer = Trainer(recipe, blocks_of(recipe, run), device, **how)
    losses = [trainer.step()[0].item() for _ in range(STEPS)]
    return losses, torch.cat([p.detach().flatten().cpu() for p in trainer.model.parameters()])


def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((found - wanted).norm() / wanted.norm()).item()


def test_the_device_gets_the_same_blocks(tiny: Recipe, tiny_run: Path):
    blocks = blocks_of(tiny, tiny_run)
    for first in (0, blocks.per_epoch - 2):
        on_gpu, on_cpu = (DeviceBlocks(blocks, device).batch(first, 5) for device in (CUDA, CPU))
        for found, wanted in zip(on_gpu, on_cpu, strict=True):
            assert torch.equal(found.cpu(), wanted)


@pytest.mark.parametrize(("optimizer", "attention"), [("muon", "story"), ("adamw", "block")])
def test_steps_are_those_of_a_cpu(wide: Recipe, tiny_run: Path, optimizer: str, attention: str):
    """Compiled and recorded as a CUDA graph: float32 within 1e-4, bf16 within what its 8 bits allow."""
    recipe = wide.with_(**{"optimizer.name": optimizer, "training.attention": attention})
    losses, weights = trained(recipe, tiny_run, CPU)
    exact_losses, exact = trained(recipe, tiny_run, CUDA, bf16=False)
    assert exact_losses == pytest.approx(losses, rel=1e-4)
    assert distance(exact, weights) < (1e-4 if optimizer == "muon" else 1e-3)  # AdamW divides by tiny moments
    rough_losses, rough = trained(recipe, tiny_run, CUDA, bf16=True)
    assert rough_losses == pytest.approx(losses, rel=1e-2)
    assert distance(rough, weights) < 0.1
    assert distance(rough, exact) > 0, "bf16 was not used"


@pytest.mark.parametrize("bf16", [False, True])
def test_a_cuda_graph_computes_what_single_launches_do(wide: Recipe, tiny_run: Path, bf16: bool):
    losses, weights = trained(wide, tiny_run, CUDA, bf16=bf16, graphed=False)
    replayed_losses, replayed = trained(wide, tiny_run, CUDA, bf16=bf16)
    assert replayed_losses == pytest.approx(losses, rel=1e-2 if bf16 else 1e-5)
    assert distance(replayed, weights) < (0.05 if bf16 else 1e-4)


def test_training_resumes_on_the_device(tiny: Recipe, tiny_run: Path, tmp_path: Path):
    """From the checkpoint of step 10 of 12; learning rates are those of 12 steps in both."""
    once = train(tiny, tiny_run / "tokens", tmp_path / "once", device="cuda")
    train(tiny, tiny_run / "tokens", tmp_path / "twice", device="cuda")
    last = tmp_path / "twice" / once.name
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    again = train(tiny, tiny_run / "tokens", tmp_path / "twice", device="cuda")
    weights = [open_weights(path) for path in (again, once)]
    assert distance(*weights) < 0.02


def open_weights(checkpoint: Path) -> torch.Tensor:
    from safetensors.torch import load_file

    return torch.cat(
        [value.flatten() for _, value in sorted(load_file(checkpoint / "model.safetensors").items())]
    )


def test_auto_batch_fits_the_free_memory(tiny: Recipe, tiny_run: Path):
    """With all but 4 GiB of the card taken, a step of 65,536 sequences is cut into micro-batches."""
    torch.cuda.empty_cache()
    recipe = tiny.with_(**{"training.batch": 65536})
    free, total = torch.cuda.mem_get_info()
    ballast = torch.empty(int(min(free, 0.8 * total) - 4 * 2**30), dtype=torch.uint8, device=CUDA)
    try:
        trainer = Trainer(recipe, blocks_of(recipe, tiny_run), CUDA, graphed=False)
        assert trainer.shrink_micro_batches() > 1
        assert trainer.step()[0].isfinite()
    finally:
        del ballast
        torch.cuda.empty_cache()


def test_evaluation_and_stories_are_those_of_a_cpu(tiny_run: Path):
    stories = ["Once upon a time there was a little dog. It ran and ran.", "The cat sat. It was happy."]
    for folder in (tiny_run, tiny_run / "export/huggingface"):
        on_gpu, on_cpu = open_model(folder, "cuda"), open_model(folder, "cpu")
        assert measure(on_gpu, stories).bits_per_byte == pytest.approx(
            measure(on_cpu, stories).bits_per_byte, rel=1e-4
        )
        greedy = Sampling(temperature=0.0, max_new_tokens=24)
        assert list(generate(on_gpu, "Once upon a time", greedy)) == list(
            generate(on_cpu, "Once upon a time", greedy)
        )
