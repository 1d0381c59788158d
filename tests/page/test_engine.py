"""The page's engine and tokenizer, in Node.js, against ours on the same weights."""

import json
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aurelius.corpus.storyteller import tell
from aurelius.export import page
from aurelius.inference.engine import Engine
from aurelius.inference.prompt_end import Vocabulary
from aurelius.inference.run_model import RunModel
from aurelius.inference.sampling import Sampling, candidates
from aurelius.parity.check import HARD_TEXTS, beginnings

pytestmark = pytest.mark.long
HERE = Path(__file__).parent
SAMPLINGS = [
    Sampling(temperature=t, min_p=m, top_k=k, top_p=p)
    for t in (0.0, 0.5, 1.3)
    for m, k, p in ((0.15, 0, 1.0), (0.0, 7, 1.0), (0.05, 0, 0.8), (0.0, 5, 0.6))
]
PROMPTS = [
    "Once upon a time",
    "Once upon a time ",
    "One day.\n",
    'The old dog said, "',
    "named Pac",
    "a 🐱",
    "日本",
    "",
    "  ",
]


@pytest.fixture(scope="module")
def model(story_run: Path) -> RunModel:
    """Return the model with the weights as the page has them."""
    opened = RunModel(story_run, "cpu")
    rounded = {name: page.dequantised(weight) for name, weight in opened.weights.items()}
    opened.__dict__["engine"] = Engine(opened.shape, rounded)
    return opened


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [*HARD_TEXTS, *beginnings([tell(9, seed) for seed in range(20)], 200)]


@pytest.fixture(scope="module")
def answers(model: RunModel, story_run: Path, texts: list[str], tmp_path_factory) -> dict[str, Any]:
    if not (HERE.parents[1] / "page/node_modules").is_dir():
        pytest.skip("no node_modules in page: make test-long installs them")
    folder = tmp_path_factory.mktemp("page")
    (folder / "page.html").write_text(page.page(story_run / "export/huggingface", "tests"))
    dice = np.random.default_rng(0)
    task = {
        "texts": texts,
        "sequences": sequences(model),
        "opening": model.encode("Once upon a time"),
        "greedy": 200,
        "prompts": PROMPTS,
        "samplings": [
            [
                dice.normal(size=40).tolist(),
                {"temperature": s.temperature, "minP": s.min_p, "topK": s.top_k, "topP": s.top_p},
            ]
            for s in SAMPLINGS
        ],
    }
    (folder / "task.json").write_text(json.dumps(task))
    command = ["node", str(HERE / "answers.mjs"), str(folder / "page.html"), str(folder / "task.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"task": task}


def sequences(model: RunModel) -> list[list[int]]:
    return [(model.prefix + model.encode(tell(9, seed)))[: model.context] for seed in range(3)]


def test_ids_are_those_of_python(model: RunModel, answers: dict[str, Any], texts: list[str]):
    wrong = [text for text, ids in zip(texts, answers["ids"], strict=True) if ids != model.encode(text)]
    assert not wrong


def test_text_comes_back(model: RunModel, answers: dict[str, Any], texts: list[str]):
    # The decoder in JavaScript takes a byte-order mark in the text for one at its beginning.
    expected = [model.decode(model.encode(text)).replace("\ufeff", "") for text in texts]
    assert answers["decoded"] == expected
    assert answers["pieces"] == expected


def test_logits_are_numpys(model: RunModel, answers: dict[str, Any]):
    for ids, found in zip(sequences(model), answers["logits"], strict=True):
        cache = model.new_cache()
        wanted = [model.next_token_logits([id_], cache) for id_ in ids]
        assert np.abs(np.array(found) - np.array(wanted)).max() < 1e-3


def test_greedy_text_is_numpys_but_at_ties(model: RunModel, answers: dict[str, Any]):
    opening, cache, story = model.prefix + answers["task"]["opening"], model.new_cache(), answers["story"]
    feed = opening
    for id_ in story:
        logits = model.next_token_logits(feed, cache)
        logits[model.suppressed] = -np.inf
        assert logits[id_] > logits.max() - 1e-3
        feed = [id_]
    assert len(story) > 50


def test_prompts_end_as_in_python(model: RunModel, answers: dict[str, Any]):
    vocabulary = Vocabulary.of(model.tokenizer)
    assert vocabulary
    for prompt, found in zip(PROMPTS, answers["paths"], strict=True):
        end = vocabulary.end_of(prompt, model.encode(prompt))
        assert (end is None) == (found is None), prompt
        if end is None:
            continue
        wanted = vocabulary.paths(model, end)
        assert wanted is not None
        ours = {
            tuple(ids): weight for ids, weight in zip(wanted.ids, wanted.log_weights.tolist(), strict=True)
        }
        theirs = {tuple(path["ids"]): path["logWeight"] for path in found}
        likely = [ids for ids in ours if ours[ids] > max(ours.values()) - 4]
        assert likely and {ids: theirs[ids] for ids in likely} == pytest.approx(
            {i: ours[i] for i in likely}, abs=1e-3
        )


def test_sampling_is_pythons(answers: dict[str, Any]):
    for sampling, (scores, _), found in zip(
        SAMPLINGS, answers["task"]["samplings"], answers["candidates"], strict=True
    ):
        if sampling.temperature == 0:
            assert [id_ for id_, _ in found] == [int(np.argmax(scores))]
            continue
        ids, weights = candidates(np.array(scores), sampling)
        assert dict(found) == pytest.approx(dict(zip(ids.tolist(), weights.tolist(), strict=True)))


def test_attention_is_shared_out(model: RunModel, answers: dict[str, Any]):
    rows = answers["attention"]
    assert (len(rows), len(rows[0])) == (model.shape.layers, model.shape.heads)
    for head in (head for row in rows for head in row):
        assert sum(head.values()) == pytest.approx(1, abs=1e-5)


def test_a_link_comes_back(model: RunModel, answers: dict[str, Any]):
    assert answers["link"] == {"ids": sequences(model)[0], "opening": 3, "ended": True}
    assert answers["damaged"] == [None] * 5


def test_int8_costs_less_than_one_percent(story_run: Path, model: RunModel):
    """Bits of the same stories, by the engine with the rounded weights and with the trained ones."""

    def nats(engine: Engine) -> float:
        total = 0.0
        for ids in sequences(model):
            cache = model.new_cache()
            for now, after in pairwise(ids):
                logits = engine.next_token_logits([now], cache).astype(np.float64)
                total += np.logaddexp.reduce(logits) - logits[after]
        return total

    assert nats(model.engine) < 1.01 * nats(RunModel(story_run, "cpu").engine)
