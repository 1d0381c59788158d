"""Recipes and manifests of older versions: renamed keys, and fields that did not exist yet."""

from collections.abc import Mapping
from typing import Any

from aurelius.config.optimizers import OPTIMIZERS
from aurelius.config.settings import Section, introduced_default, is_operational

RENAMED = {
    "corpus.near": "corpus.near_duplicates",
    "training.keep": "training.keep_checkpoints",
    "training.clip": "training.gradient_clip",
    "training.spike": "training.max_loss_rise",
    "training.optimizer": "optimizer.name",
    "training.weight_decay": "optimizer.weight_decay",
    "training.beta1": "optimizer.beta1",
    "training.beta2": "optimizer.beta2",
    "training.momentum": "optimizer.momentum",
    "training.muon_learning_rate": "optimizer.learning_rate",
    "training.learning_rate": "optimizer.adamw_learning_rate",
}
WITH_ADAMW = {"training.learning_rate": "optimizer.learning_rate"}  # which had no rate of Muon
ONLY_MUON = ("training.momentum", "training.muon_learning_rate")


def new_name(key: str, optimizer: str) -> str | None:
    """Return today's name of a dotted key, or None if it has no meaning with that optimizer."""
    if optimizer == "adamw":
        if key in ONLY_MUON:
            return None
        key = WITH_ADAMW.get(key, key)
    return RENAMED.get(key, key)


def modernise(table: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a recipe's table with today's names, and a notice for each old name."""
    sections: dict[str, Any] = {k: dict(v) if isinstance(v, Mapping) else v for k, v in table.items()}
    notices = []
    old = [
        f"{name}.{key}"
        for name, section in sections.items()
        if isinstance(section, dict)
        for key in section
        if f"{name}.{key}" in RENAMED
    ]
    training, optimizer = sections.get("training", {}), sections.get("optimizer", {})
    chosen = optimizer.get("name") if isinstance(optimizer, dict) else None
    chosen = chosen or (training.get("optimizer") if isinstance(training, dict) else None) or "muon"
    for key in old:
        section, field = key.split(".")
        value = sections[section].pop(field)
        new = new_name(key, str(chosen))
        if new is None:
            notices.append(f"{key} has no effect with the optimizer {chosen}")
            continue
        notices.append(f"{key} is now called {new}")
        new_section, new_field = new.split(".")
        sections.setdefault(new_section, {}).setdefault(new_field, value)
    return sections, notices


def fill_in(section: type[Section], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a section made by an older version, with missing fields as introduced."""
    missing = {
        key: introduced_default(section, key)
        for key, field in section.model_fields.items()
        if key not in values and not field.is_required()
    }
    return {**values, **missing}


def deciding(parts: Mapping[str, Any], sections: Mapping[str, type[Section]]) -> dict[str, Any]:
    """Return what decides a result among parts of a recipe, comparable across versions.

    Args:
        parts: sections by name, and single values by dotted key, as a manifest records them.
        sections: the class of each section.
    """
    modern, _ = modernise(parts)
    decided: dict[str, Any] = {}
    for name, values in modern.items():
        section = sections.get(name)
        owner, _, field = name.partition(".")
        if field and is_operational(sections[owner], field):
            continue
        if name == "optimizer" and isinstance(values, dict):
            section = OPTIMIZERS.get(values.get("name", "muon"))
        if section is None or not isinstance(values, dict):
            decided[name] = values
            continue
        values = fill_in(section, values)
        decided[name] = {
            key: value
            for key, value in values.items()
            if key not in section.model_fields or not is_operational(section, key)
        }
    return decided
