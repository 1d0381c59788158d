"""The recipe: everything that decides what is trained, as a strict, frozen, documented table.

A recipe is a TOML file with one section for each part of the work. Unknown keys, wrong types and impossible
combinations are refused before anything runs. What a machine decides (device, threads) is no part of it.
"""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from os.path import abspath, expanduser
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import Field, ValidationError

from aurelius.config import shipped as recipes
from aurelius.config.sections import (
    IMPORTED,
    CorpusRecipe,
    EvaluationRecipe,
    ExportRecipe,
    GenerationRecipe,
    ModelRecipe,
    Part,
    TokenizerRecipe,
    TrainingRecipe,
)
from aurelius.errors import RecipeError

RECIPE = "recipe.toml"  # of a run folder


class Recipe(Part):
    """A whole recipe. See `Recipe.load`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="letters, digits, . _ -")
    description: str = Field(default="", description="one line about it")
    corpus: CorpusRecipe = CorpusRecipe()
    tokenizer: TokenizerRecipe = TokenizerRecipe()
    model: ModelRecipe
    training: TrainingRecipe
    evaluation: EvaluationRecipe = EvaluationRecipe()
    generation: GenerationRecipe = GenerationRecipe()
    export: ExportRecipe = ExportRecipe()

    @property
    def parameters(self) -> int:
        """Number of parameters of the model."""
        return self.model.parameters(self.tokenizer.vocab_size)

    @property
    def tokens_per_step(self) -> int:
        """Tokens one optimizer step trains on."""
        return self.training.batch * self.model.context

    @classmethod
    def load(cls, source: "str | Path", overrides: Mapping[str, Any] | None = None) -> "Recipe":
        """Read a recipe.

        Args:
            source: the name of a shipped recipe, the path of a .toml file, or a run folder.
            overrides: values by dotted key, such as ``{"training.steps": 2000}``.

        Raises:
            RecipeError: no such recipe, not TOML, or anything in it is refused.
        """
        path = Path(source)
        if (path / RECIPE).is_file():
            path /= RECIPE
        if path.suffix == ".toml":
            if not path.is_file():
                raise RecipeError(f"recipe file {path} is not there")
            text, where = _read(path), str(path)
        elif str(source) in recipes.NAMES:
            text, where = recipes.text(str(source)), f"recipe '{source}'"
        else:
            near = difflib.get_close_matches(str(source), recipes.NAMES, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise RecipeError(
                f"no recipe or run folder '{source}'{hint} "
                f"(recipes: {', '.join(recipes.NAMES)}; or give the path of a .toml file)"
            )
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(f"{where} is not TOML: {error}") from None
        for key, value in (overrides or {}).items():
            _set(table, key, value)
        return cls.of(table, where)

    @classmethod
    def of(cls, table: Mapping[str, Any], where: str = "recipe") -> "Recipe":
        """Check a table of values; every complaint names the key, the value found and what is allowed.

        Raises:
            RecipeError: anything in it is refused.
        """
        try:
            recipe = cls.model_validate(dict(table))
        except ValidationError as error:
            complaints = "; ".join(_complaint(dict(e)) for e in error.errors())
            raise RecipeError(f"{where} is refused: {complaints}") from None
        given = recipe.corpus.source
        source = _absolute(given) if isinstance(given, str) else [_absolute(name) for name in given]
        held = recipe.corpus.valid_source
        update = {"source": source, "valid_source": _absolute(held) if held else ""}
        corpus = recipe.corpus.model_copy(update=update)
        tokenizer, training = recipe.tokenizer, recipe.training
        tokenizer = tokenizer.model_copy(update={"source": _elsewhere(tokenizer.source)})
        training = training.model_copy(update={"start": _elsewhere(training.start)})
        return recipe.model_copy(update={"corpus": corpus, "tokenizer": tokenizer, "training": training})

    def to_toml(self) -> str:
        """Return the recipe as TOML, every default written out and every field explained."""
        document = tomlkit.document()
        for name, info in Recipe.model_fields.items():
            value = getattr(self, name)
            if not isinstance(value, Part):
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
        return dict(_flatten(self.model_dump()))

    def with_(self, **overrides: Any) -> "Recipe":
        """Return a copy with values replaced by dotted key (``with_(**{"training.steps": 5})``)."""
        table = self.model_dump()
        for key, value in overrides.items():
            _set(table, key, value)
        return Recipe.of(table)


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
    """Return a source of stories by a name that holds in any folder."""
    if source == "storyteller" or source.startswith("hf:"):
        return source
    return abspath(expanduser(source))


def _elsewhere(folder: str) -> str:
    """Make the path of a model absolute, but for the one that lies within the run."""
    return abspath(expanduser(folder)) if folder not in ("", IMPORTED) else folder


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 text (byte {error.start})") from None


def _set(table: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise RecipeError(f"{dotted}: '{section}' is not a section")
    table[key] = value


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _complaint(error: dict[str, Any]) -> str:
    error["loc"] = error["loc"][:2]  # section and key; what follows tells apart the types a key may have
    where = ".".join(map(str, error["loc"])) or "recipe"
    if error["type"] == "extra_forbidden":
        known = _known_keys(error["loc"][:-1])
        near = difflib.get_close_matches(str(error["loc"][-1]), known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
        return f"{where} = {error['input']!r}: unknown key; {hint}"
    if error["type"] == "missing":
        return f"{where} is missing: {_description(error['loc'])}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{where}: {message}"
    return f"{where} = {error['input']!r}: {message} ({_description(error['loc'])})"


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    part: Any = Recipe
    for key in location:
        part = part.model_fields[key].annotation
    return list(part.model_fields)


def _description(location: tuple[Any, ...]) -> str:
    *sections, key = location
    part: Any = Recipe
    for section in sections:
        part = part.model_fields[section].annotation
    info = part.model_fields.get(key)
    return (info.description or "a section") if info else ""
