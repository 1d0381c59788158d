"""Minimal pairs as tasks of EleutherAI's lm-evaluation-harness (lm-eval 0.4), which scores them as we do.

A YAML file and a JSON Lines file for every paradigm, and a group of all of them.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from aurelius.evaluation.pairs import Paradigm, Style, presented
from aurelius.evaluation.sinks import shown_token
from aurelius.files import write_bytes
from aurelius.inference.language_model import InspectableModel


def write_tasks(
    model: InspectableModel,
    folder: Path,
    paradigms: Sequence[Paradigm],
    style: Style,
    group: str,
    out: Path,
) -> list[str]:
    """Write the tasks into ``out``, and return the command for the model in ``folder``.

    lm-eval scores an empty context after the model's begin token alone. A longer prefix, such as
    ``<sink> <s>``, is spelt as the context, and ``add_bos_token=False`` keeps it from being added twice.
    """
    out.mkdir(parents=True, exist_ok=True)
    names = []
    for each in paradigms:
        name = f"{group}_{re.sub(r'[^A-Za-z0-9-]+', '_', each.name)}"
        names.append(name)
        rows = (
            {"bad": presented(wrong, style), "good": presented(right, style)} for wrong, right in each.pairs
        )
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_bytes(out / f"{name}.jsonl", lines.encode())
        _write(out / f"{name}.yaml", _task(model, name, out.absolute() / f"{name}.jsonl"))
    mean = {"metric": "acc", "aggregation": "mean", "weight_by_size": False}
    _write(out / f"{group}.yaml", {"group": group, "task": names, "aggregate_metric_list": [mean]})
    more = ",add_bos_token=False" if len(model.prefix) > 1 else ""
    arguments = f"pretrained={str(folder).removeprefix('hf:')},dtype=float32{more}"
    return ["lm_eval", "run", "--model", "hf", "--model_args", arguments, "--tasks", group, "--include_path",
            str(out), "--device", "cpu", "--batch_size", "64"]  # fmt: skip


def _task(model: InspectableModel, name: str, file: Path) -> dict[str, Any]:
    prefix = "".join(shown_token(model, i) for i in model.prefix) if len(model.prefix) > 1 else ""
    return {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(file)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": prefix,
        "doc_to_choice": "{{[bad, good]}}",  # of equal scores lm-eval takes the first
        "doc_to_target": 1,
        "target_delimiter": "",
        "num_fewshot": 0,
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }


def _write(file: Path, value: dict[str, Any]) -> None:
    write_bytes(file, yaml.safe_dump(value, sort_keys=False).encode())
