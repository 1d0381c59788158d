"""What a study is: a TOML file that names a recipe, what differs between its arms, seeds, and a budget.

title = "Attention and story starts"
question = "Does attention within the story learn faster?"
recipe = "nano"
seeds = [0, 1, 2]
tokens = 1_200_000

[set]                                # in every arm
corpus.source = "stories.txt"

[grid]                               # every combination is an arm
training.attention = ["block", "story"]

[[arms]]                             # or arms one by one, each combined with the grid
name = "wide"
set.model.d_model = 192
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from aurelius.config.recipe import Recipe, flatten
from aurelius.config.settings import Section
from aurelius.errors import CompareError
from aurelius.evaluation.instruments import INSTRUMENTS

HELD_OUT = "held-out"
MEASURES = {
    "bits_per_byte": "bits per byte, the end of each story included",
    "bits_per_byte_text": "bits per byte of the text alone",
}


class ArmSettings(Section):
    """One of the ways to train that a study compares."""

    name: str = Field(min_length=1)
    set: dict[str, Any] = Field(default={}, description="values of the recipe by key")


class Study(Section):
    """A whole study. See `Study.load`."""

    title: str = Field(min_length=1)
    question: str = Field(default="", description="what the study answers, a sentence or two")
    recipe: str = Field(description="the recipe that every arm changes: a shipped one, or a .toml file")
    seeds: list[int] = Field(default=[0], min_length=1, description="of the trainings of each arm")
    tokens: int = Field(default=0, ge=0, description="tokens per training; 0: the recipe's steps")
    minutes: float = Field(default=0.0, ge=0, description="minutes per training; 0: the recipe's steps")
    documents: str = Field(
        default=HELD_OUT, description="what is measured on: 'held-out', the corpus's own stories, or a file"
    )
    stories: int = Field(default=0, ge=0, description="only the first of the documents; 0: all")
    measure: Literal["bits_per_byte", "bits_per_byte_text"] = Field(default="bits_per_byte_text")
    figures: list[str] = Field(
        default=[], description="also measured: keys of what an instrument finds, such as pairs.mean"
    )
    pairs: str = Field(default="", description="folder of the minimal pairs that figures ask for")
    baseline: str = Field(default="", description="arm that the others are compared with; empty: the first")
    x: str = Field(
        default="", description="key that is the horizontal axis of the figure; empty: a row per arm"
    )
    set: dict[str, Any] = Field(default={}, description="values of the recipe in every arm")
    grid: dict[str, Any] = Field(default={}, description="lists of values; every combination is an arm")
    arms: list[ArmSettings] = Field(default=[], description="arms one by one")

    @model_validator(mode="after")
    def _consistent(self):
        if self.tokens and self.minutes:
            raise ValueError("tokens and minutes are both given; choose one of them")
        for figure in self.figures:
            if "." not in figure:
                raise ValueError(f"figures has {figure!r}; a figure is INSTRUMENT.KEY, such as pairs.mean")
        for name in self.instruments:
            if name not in INSTRUMENTS:
                known = ", ".join(INSTRUMENTS)
                raise ValueError(f"figures asks for {name!r}, which is not an instrument; known are {known}")
        if "pairs" in self.instruments and not self.pairs:
            raise ValueError('figures asks for pairs; name their folder with pairs = "FOLDER"')
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {self.seeds} has a seed twice")
        for key, values in flatten(self.grid):
            if not isinstance(values, list) or not values:
                raise ValueError(f"grid.{key} is {values!r}; a grid needs a list of values")
        return self

    @property
    def instruments(self) -> list[str]:
        """The instruments that the figures come from."""
        return list(dict.fromkeys(figure.split(".")[0] for figure in self.figures))

    @classmethod
    def load(cls, path: Path) -> "Study":
        """Read a study's TOML file.

        Raises:
            CompareError: it is missing, not TOML, or anything in it is refused.
        """
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            raise CompareError(f"the study {path} does not exist") from None
        except (OSError, UnicodeDecodeError) as error:
            raise CompareError(f"the study {path} cannot be read: {error}") from None
        except tomllib.TOMLDecodeError as error:
            raise CompareError(f"the study {path} is not TOML: {error}") from None
        return cls.of(table, str(path))

    @classmethod
    def of(cls, table: Mapping[str, Any], where: str = "study") -> "Study":
        """Check a table of values.

        Raises:
            CompareError: anything in it is refused.
        """
        try:
            return cls.model_validate(dict(table))
        except ValidationError as error:
            problems = "; ".join(_problem(dict(e)) for e in error.errors())
            raise CompareError(f"{where} is refused: {problems}") from None


@dataclass(frozen=True)
class Arm:
    """A way to train: its name and the values that it changes, by dotted key.

    ``listed`` is its name in the study's list of arms, ``point`` what the grid adds; either may be empty.
    """

    name: str
    changes: dict[str, Any]
    listed: str
    point: dict[str, Any]

    def name_without(self, key: str) -> str:
        """Return its name, but for the value of a key of the grid."""
        return _name(self.listed, {k: value for k, value in self.point.items() if k != key})


@dataclass(frozen=True)
class Trial:
    """One training: an arm with one seed. ``changes`` is all that its recipe changes in the study's."""

    arm: Arm
    seed: int
    changes: dict[str, Any]
    recipe: Recipe

    @property
    def folder(self) -> str:
        """The name of its run folder."""
        return f"{re.sub(r'[^A-Za-z0-9._=-]+', '-', self.arm.name).strip('-')}-seed-{self.seed}"


def arms_of(study: Study) -> list[Arm]:
    """Return the arms of a study: those listed, each with every combination of the grid.

    Raises:
        CompareError: there is a single arm, a name occurs twice, or the baseline is none of them.
    """
    listed = [(arm.name, dict(flatten(arm.set))) for arm in study.arms] or [("", {})]
    axes = dict(flatten(study.grid))
    arms = []
    for (name, changes), values in product(listed, product(*axes.values())):
        point = dict(zip(axes, values, strict=True))
        arms.append(Arm(_name(name, point), changes | point, name, point))
    names = [arm.name for arm in arms]
    if len(arms) < 2:
        raise CompareError(f"the study '{study.title}' has one arm; it needs at least two to compare")
    if twice := [name for name in names if names.count(name) > 1]:
        raise CompareError(f"the study '{study.title}' has two arms called '{twice[0]}'")
    if study.baseline and study.baseline not in names:
        near = difflib.get_close_matches(study.baseline, names, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"its arms are {', '.join(names)}"
        raise CompareError(f"the baseline '{study.baseline}' is not an arm of the study; {hint}")
    if study.x and any(study.x not in arm.changes for arm in arms):
        raise CompareError(f"x = '{study.x}': every arm has to set it; a figure by it needs a value for each")
    return arms


def _name(listed: str, point: Mapping[str, Any]) -> str:
    parts = [f"{key.split('.')[-1]}={value}" for key, value in point.items()]
    return ", ".join([listed] * bool(listed) + parts)


def trials_of(study: Study, folder: Path, changes: Mapping[str, Any] | None = None) -> list[Trial]:
    """Return the trainings of a study, seed by seed, so that an interrupted one has all arms of a seed.

    Args:
        study: the study.
        folder: where its recipe lies if that is a file named by a relative path.
        changes: values of the recipe in every arm, in addition to the study's own.

    Raises:
        CompareError: as `arms_of`, or arms that are measured on their own corpus have different ones.
        RecipeError: the recipe of an arm is refused.
    """
    base = folder / study.recipe if study.recipe.endswith(".toml") else study.recipe
    trials = list(_trials(study, base, changes or {}))
    if study.documents == HELD_OUT and any(t.recipe.corpus != trials[0].recipe.corpus for t in trials):
        raise CompareError(
            "the arms have different corpora, so their held-out stories differ: name a file of stories with "
            'documents = "FILE" in the study, or with --on'
        )
    if len({trial.folder for trial in trials}) < len(trials):
        raise CompareError("the names of two arms differ only in characters that folders cannot have")
    return trials


def _trials(study: Study, base: "str | Path", changes: Mapping[str, Any]) -> Iterator[Trial]:
    for seed in study.seeds:
        for arm in arms_of(study):
            values = dict(flatten(study.set)) | arm.changes | dict(changes) | {"training.seed": seed}
            if study.minutes:
                values |= {"training.minutes": study.minutes, "training.steps": 0}
            recipe = Recipe.load(base, values)
            if study.tokens:
                steps = max(1, round(study.tokens / recipe.tokens_per_step))
                values |= {"training.steps": steps, "training.minutes": 0.0}
                recipe = recipe.with_(**values)
            yield Trial(arm, seed, {key: _portable(key, value) for key, value in values.items()}, recipe)


def _portable(key: str, value: Any) -> Any:
    """Return a value as it is on every machine: files without their folders."""
    if key not in ("corpus.source", "corpus.valid_source"):
        return value
    return [PurePath(name).name for name in value] if isinstance(value, list) else PurePath(value).name


def _problem(error: dict[str, Any]) -> str:
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where, Study.model_fields, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(Study.model_fields)}"
        return f"{where}: unknown key; {hint}"
    if error["type"] == "missing":
        return f"{where} is missing"
    message = error["msg"].removeprefix("Value error, ")
    return f"{where} = {error['input']!r}: {message}" if where else message
