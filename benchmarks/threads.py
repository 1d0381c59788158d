"""A training with two threads against two independent trainings with one thread each.

python benchmarks/threads.py nano benchmarks/shapes/0.79M.toml
"""

import json
import os
import subprocess
import sys
import time

SECONDS = 12.0
STARTING = 15.0  # seconds after which the two processes begin at once


def main() -> None:
    """Measure each recipe that is named and print the ratio."""
    recipe, *settings = sys.argv[1:]
    if settings[:1] == ["--one"]:
        print(json.dumps(_tokens_per_second(recipe, float(settings[1]))))
        return
    for name in sys.argv[1:]:
        (together,) = _measure(name, 1, "2")
        apart = sum(_measure(name, 2, "1"))
        print(f"{name}: threads {together:,.0f} tokens/s, two processes {apart:,.0f}: {together / apart:.2f}")


def _measure(recipe: str, processes: int, threads: str) -> list[float]:
    environment = os.environ | {"OMP_NUM_THREADS": threads}
    command = [sys.executable, __file__, recipe, "--one", str(time.time() + STARTING)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(processes)
    ]
    return [json.loads(process.communicate()[0]) for process in running]


def _tokens_per_second(name: str, begin: float) -> float:
    import torch

    from aurelius.config.recipe import Recipe
    from aurelius.training.trainer import Trainer
    from training import _blocks

    recipe = Recipe.load(name, {"training.steps": 1_000_000})
    trainer = Trainer(recipe, _blocks(recipe), torch.device("cpu"))
    for _ in range(10):
        trainer.step()
    time.sleep(max(0.0, begin - time.time()))
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        trainer.step()
        steps += 1
    return steps * recipe.tokens_per_step / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
