"""The recipe: everything that decides what is trained, as a strict, frozen, documented table.

A recipe is a TOML file with one section per part of the work. Unknown keys, wrong types and impossible
combinations are refused before anything runs. What depends on the machine (device, threads) is not part of
it.
"""

import difflib
import os
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from os.path import abspath, expanduser
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import Field, ValidationError

from aurelius.config import shipped
from aurelius.config.compatibility import RENAMED, fill_in, modernise, new_name
from aurelius.config.optimizers import DEFAULT, OPTIMIZERS, OptimizerSettings
from aurelius.config.settings import (
    IMPORTED,
    CorpusSettings,
    EvaluationSettings,
    ExportSettings,
    GenerationSettings,
    ModelSettings,
    Section,
    TokenizerSettings,
    TrainingSettings,
    is_operational,
)
from aurelius.errors import RecipeError
from aurelius.run_paths import RECIPE, named_run


class Recipe(Section):
    """A whole recipe. See `Recipe.load`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="letters, digits, . _ -")
    description: str = Field(default="", description="one line about it")
    corpus: CorpusSettings = CorpusSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    model: ModelSettings
    training: TrainingSettings
    optimizer: OptimizerSettings = Field(default=DEFAULT, discriminator="name")
    evaluation: EvaluationSettings = EvaluationSettings()
    generation: GenerationSettings = GenerationSettings()
    export: ExportSettings = ExportSettings()

    @property
    def parameters(self) -> int:
        """Number of parameters of the model."""
        return self.model.parameters(self.tokenizer.vocab_size)

    @property
    def tokens_per_step(self) -> int:
        """Tokens per optimizer step."""
        return self.training.batch * self.model.context

    @classmethod
    def load(cls, source: "str | Path", overrides: Mapping[str, Any] | None = None) -> "Recipe":
        """Read a recipe.

        Keys that older versions called otherwise still work; a `FutureWarning` gives the new name. Fields
        missing from a run folder's recipe have the value they had when they were introduced.

        Args:
            source: the name of a shipped recipe, the path of a .toml file, a run folder, or a run's name in
                ``runs/``.
            overrides: values by dotted key, such as ``{"training.steps": 2000}``.

        Raises:
            RecipeError: there is no such recipe, it is not TOML, or anything in it is refused.
        """
        path = Path(source)
        if (path / RECIPE).is_file() or str(source) not in shipped.NAMES:
            path = (run / RECIPE) if (run := named_run(source)) else path
        of_run = path.name == RECIPE
        if path.suffix == ".toml":
            if not path.is_file():
                raise RecipeError(f"recipe file {path} does not exist")
            text, where = _read(path), str(path)
        elif str(source) in shipped.NAMES:
            text, where = shipped.text(str(source)), f"recipe '{source}'"
        else:
            near = difflib.get_close_matches(str(source), shipped.NAMES, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise RecipeError(
                f"no recipe or run folder '{source}'{hint} "
                f"(recipes: {', '.join(shipped.NAMES)}; or pass the path of a .toml file)"
            )
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(f"{where} is not TOML: {error}") from None
        table, notices = modernise(table)
        if of_run:
            table = _as_introduced(table)
        else:
            _warn(notices, where)
        _override(table, overrides or {})
        return cls.of(table, where)

    @classmethod
    def of(cls, table: Mapping[str, Any], where: str = "recipe") -> "Recipe":
        """Check a table of values; every error names the key, the value found and what is allowed.

        Raises:
            RecipeError: anything in it is refused.
        """
        try:
            values = dict(table)
            if isinstance(values.get("optimizer"), dict):
                values["optimizer"] = {"name": DEFAULT.name, **values["optimizer"]}
            recipe = cls.model_validate(values)
        except ValidationError as error:
            problems = "; ".join(_problem(dict(e)) for e in error.errors())
            raise RecipeError(f"{where} is refused: {problems}") from None
        names = recipe.corpus.source
        source = _absolute(names) if isinstance(names, str) else [_absolute(name) for name in names]
        held_out = recipe.corpus.valid_source
        update = {"source": source, "valid_source": _absolute(held_out) if held_out else ""}
        corpus = recipe.corpus.model_copy(update=update)
        tokenizer, training = recipe.tokenizer, recipe.training
        tokenizer = tokenizer.model_copy(update={"source": _absolute_model(tokenizer.source)})
        training = training.model_copy(update={"start": _absolute_model(training.start)})
        return recipe.model_copy(update={"corpus": corpus, "tokenizer": tokenizer, "training": training})

    def to_toml(self) -> str:
        """Return the recipe as TOML, every default written out and every field explained."""
        document = tomlkit.document()
        for name, info in Recipe.model_fields.items():
            value = getattr(self, name)
            if not isinstance(value, Section):
                document.add(name, tomlkit.item(value).comment(info.description or ""))
                continue
            table = tomlkit.table()
            table.comment((type(value).__doc__ or "").split("\n")[0])
            for key, field in type(value).model_fields.items():
                table.add(key, tomlkit.item(getattr(value, key)).comment(field.description or ""))
            document.add(tomlkit.nl())
            document.add(name, table)
        return tomlkit.dumps(document)

    def flat(self) -> dict[str, Any]:
        """Return every value by its dotted key."""
        return dict(flatten(self.model_dump()))

    def with_(self, **overrides: Any) -> "Recipe":
        """Return a copy with values replaced by dotted key (``with_(**{"training.steps": 5})``)."""
        table = self.model_dump()
        _override(table, overrides)
        return Recipe.of(table)

    @classmethod
    def is_operational(cls, key: str) -> bool:
        """Whether a dotted key only says how a run is operated, and may change on an existing run."""
        name, _, field = key.partition(".")
        section = SECTIONS.get(name)
        return section is not None and is_operational(section, field)


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``key=value`` as given to ``--set``; the value is read as TOML, else taken as text.

    Raises:
        RecipeError: there is no ``=``, or more than one value.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {text!r}: expected KEY=VALUE, such as training.steps=2000")
    try:
        table = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
    if len(table) > 1:
        raise RecipeError(f"--set {text!r}: one value at a time; repeat --set for the next")
    return key.strip(), table["value"]


def _absolute(source: str) -> str:
    """Return a source of stories by a name that is valid in any working directory."""
    if source == "storyteller" or source.startswith("hf:"):
        return source
    return abspath(expanduser(source))


def _absolute_model(folder: str) -> str:
    """Make the path of a model absolute, except that of the run's own."""
    return abspath(expanduser(folder)) if folder not in ("", IMPORTED) else folder


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 text (byte {error.start})") from None


def _override(table: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Replace values by dotted key; another optimizer starts from its own defaults."""
    current = table.get("optimizer", {})
    current = current.get("name", DEFAULT.name) if isinstance(current, dict) else DEFAULT.name
    optimizer = overrides.get("optimizer.name", overrides.get("training.optimizer", current))
    if optimizer != current:
        table["optimizer"] = {"name": optimizer}
    for key, value in overrides.items():
        new = new_name(key, str(optimizer)) if key in RENAMED else key
        if new != key:
            effect = f"is now called {new}" if new else f"has no effect with the optimizer {optimizer}"
            _warn([f"{key} {effect}"], "override")
        if new:
            _set(table, new, value)


def _set(table: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise RecipeError(f"{dotted}: '{section}' is not a section")
    table[key] = [_plain(item) for item in value] if isinstance(value, list) else _plain(value)


def _plain(value: Any) -> Any:
    """Return a path as text; Python's users pass `Path` objects."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _as_introduced(table: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe of a run, with fields that it does not have yet as they were when introduced."""
    filled = dict(table)
    for name, section in SECTIONS.items():
        values = table.get(name, {})
        if isinstance(values, dict) and (values or name not in REQUIRED):
            filled[name] = fill_in(section, values)
    values = table.get("optimizer", {})
    if isinstance(values, dict) and (section := OPTIMIZERS.get(values.get("name", DEFAULT.name))):
        filled["optimizer"] = fill_in(section, values)
    return filled


def _warn(notices: list[str], where: str) -> None:
    for notice in notices:
        warnings.warn(f"{where}: {notice}", FutureWarning, stacklevel=3)


def flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested tables with their dotted keys."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _problem(error: dict[str, Any]) -> str:
    """Describe one validation error: the key, the value found, and what is allowed."""
    location = error["loc"]
    if location[:1] == ("optimizer",) and len(location) > 1:
        section, key = OPTIMIZERS[location[1]], location[2] if len(location) > 2 else None
        location = ("optimizer", *location[2:])
    else:
        location = location[:2]  # section and key; what follows distinguishes the types a key may have
        section, key = (
            (SECTIONS.get(location[0], Recipe), location[1])
            if len(location) == 2
            else (Recipe, *location)[:2]
        )
    where = ".".join(map(str, location)) or "recipe"
    if error["type"] == "union_tag_invalid":
        name = error["input"].get("name")
        return f"optimizer.name = {name!r}: unknown optimizer; choose from {', '.join(OPTIMIZERS)}"
    if error["type"] == "extra_forbidden":
        known = list(section.model_fields)
        near = difflib.get_close_matches(str(key), known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
        return f"{where} = {error['input']!r}: unknown key; {hint}"
    field = section.model_fields.get(str(key))
    description = (field.description or "a section") if field else ""
    if error["type"] == "missing":
        return f"{where} is missing: {description}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{where}: {message}"
    return f"{where} = {error['input']!r}: {message} ({description})"


SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in Recipe.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
REQUIRED = ("model", "training")  # sections without defaults
