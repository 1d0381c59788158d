"""Tokens per second in generation, compared with transformers and llama.cpp; and the time to the first word.

Every peer writes as many tokens with the same weights, on one thread, in a process of its own; the peers take
turns, round after round; ours and transformers write three times, of which the fastest counts. llama.cpp (by
node-llama-cpp, from the GGUF in float32) is timed by itself: the decode timings that it prints, over three
stories. ``many`` writes stories in batches with one process, ``many-2`` with two; loading is included.

    make tests/parity/node/node_modules/.installed        # for llama.cpp
    python benchmarks/generation.py --recipe nano --json nano.json
    python benchmarks/generation.py --recipe large --steps 60 --stories 128 --json large.json
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NODE = Path(__file__).parents[1] / "tests/parity/node"
PEERS = ("first-word", "ours", "transformers", "llama.cpp", "many", "many-2")
PROMPT = "Once upon a time"
DECODE = """
import { getLlama } from "node-llama-cpp";
process.execArgv = []; // of the test process that getLlama starts: only this one's script comes by stdin
const [path, tokens, context] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const llama = await getLlama({ gpu: false, build: "never", logLevel: "info", progressLogs: false,
  logger: (level, text) => console.log(text) });
const model = await llama.loadModel({ modelPath: path });
const made = await model.createContext({ contextSize: context, sequences: 1, threads: 1,
  performanceTracking: true });
const sequence = made.getSequence();
let count = 0;
for (let round = 0; round < 3; round++) {
  await sequence.clearHistory();
  count = 0;
  for await (const token of sequence.evaluate([3, 0], { temperature: 0.5, yieldEogToken: true }))
    if (++count === tokens) break;
}
await made.printTimings();
await new Promise((done) => setTimeout(done, 200));
process.exit(0);
"""


def main() -> None:
    """Run the peers in turns, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recipe", default="nano", help="whose shape is measured, briefly trained")
    parser.add_argument("--run", type=Path, help="a run with a GGUF export, instead")
    parser.add_argument("--steps", type=int, default=300, help="of the brief training")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--stories", type=int, default=512, help="how many `many` and `many-2` write")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        print(json.dumps(measure(options.peer, options.run, options.tokens, options.stories)))
        return
    with tempfile.TemporaryDirectory() as folder:
        run = options.run or briefly_trained(options.recipe, Path(folder) / "run", options.steps)
        peers = options.peers.split(",")
        found: dict[str, list[float]] = {peer: [] for peer in peers}
        for number in range(options.rounds):
            for peer in peers:
                found[peer].append(in_a_process(peer, run, options.tokens, options.stories))
                print(f"round {number + 1}: {peer} {found[peer][-1]:,.2f}", file=sys.stderr)
    result: dict[str, Any] = {
        "model": options.recipe if options.run is None else str(options.run),
        "tokens": options.tokens,
        "rounds": found,
        "median": {peer: round(statistics.median(values), 3) for peer, values in found.items()},
    }
    ours = found.get("ours")
    if ours:
        result["ratio_of_ours"] = {
            peer: round(statistics.median(a / b for a, b in zip(ours, values, strict=True)), 2)
            for peer, values in found.items()
            if peer != "first-word"
        }
    print(json.dumps(result["median"]), json.dumps(result.get("ratio_of_ours", {})), sep="\n")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def briefly_trained(recipe: str, folder: Path, steps: int) -> Path:
    """Return a run with a recipe's shape that has learned at least how often tokens occur.

    An untrained model finds all tokens equally likely, which makes sampling slower than it ever is.
    """
    import aurelius

    few = {
        "corpus.source": "storyteller",
        "corpus.stories": 4000,
        "training.steps": steps,
        "training.batch": 4,
        "evaluation.stories": 1,
        "export.gguf": ["F32"],
    }
    return aurelius.run(recipe, folder, overrides=few, to=("gguf",), device="cpu").folder


def in_a_process(peer: str, run: Path, tokens: int, stories: int) -> float:
    """Measure in a new process, on one thread."""
    command = [sys.executable, __file__, "--peer", peer, "--run", str(run), "--tokens", str(tokens)]
    command += ["--stories", str(stories)]
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{peer} failed: {done.stderr.strip()[-800:]}")
    return json.loads(done.stdout)


def measure(peer: str, run: Path, tokens: int, stories: int) -> float:
    """Return tokens per second; seconds for ``first-word``."""
    if peer == "first-word":
        return first_word(run)
    if peer == "llama.cpp":
        return llama_cpp(run, tokens)
    if peer == "transformers":
        return stock(run, tokens)
    if peer == "ours":
        return ours(run, tokens)
    return many(run, stories, 2 if peer == "many-2" else 1)


def first_word(run: Path) -> float:
    """Return the seconds from the start of the command to the first text after the prompt."""
    command = [sys.executable, "-m", "aurelius", "generate", str(run), PROMPT, "--seed", "1"]
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        text = b""
        while len(text) <= len(PROMPT):
            if not (more := os.read(process.stdout.fileno(), 4096)):
                sys.exit("the command wrote no story")
            text += more
        seconds = time.perf_counter() - begun
        process.kill()
    return seconds


def ours(run: Path, tokens: int) -> float:
    """Write one story as the command does, text and all; the model may not end it."""
    import aurelius

    model = aurelius.open_model(run)
    assert model.end is not None
    model.suppressed = [*model.suppressed, model.end]
    best = 0.0
    for _ in range(3):
        begun = time.perf_counter()
        story = aurelius.generate(model, PROMPT, seed=1, max_new_tokens=tokens).finish()
        best = max(best, story.tokens / (time.perf_counter() - begun))
    return best


def stock(run: Path, tokens: int) -> float:
    """Write one story with transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    folder = run / "export/huggingface"
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    inputs = AutoTokenizer.from_pretrained(folder)(PROMPT, return_tensors="pt")
    best = 0.0
    for _ in range(3):
        begun = time.perf_counter()
        model.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens)
        best = max(best, tokens / (time.perf_counter() - begun))
    return best


def llama_cpp(run: Path, tokens: int) -> float:
    """Write one story with llama.cpp, and read the decode timings that it prints."""
    import aurelius

    (file,) = (run / "export/gguf").glob("*F32.gguf")
    context = aurelius.Recipe.load(run).model.context
    command = ["node", "--input-type=module", "-", str(file.absolute()), str(tokens), str(context)]
    done = subprocess.run(command, input=DECODE, cwd=NODE, capture_output=True, text=True, check=False)
    timing = re.search(r" eval time =.*?([\d.]+) tokens per second", done.stdout)
    if not timing:
        sys.exit(f"llama.cpp printed no timings: {(done.stderr or done.stdout)[-800:]}")
    return float(timing[1])


def many(run: Path, stories: int, workers: int) -> float:
    """Write stories in batches; loading and starting workers is part of it, as it is for who waits."""
    import aurelius

    begun, tokens = time.perf_counter(), 0
    for story in aurelius.stories(run, stories, PROMPT, workers=workers):
        tokens += story.tokens
    return tokens / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
