"""The recipe: everything that decides what is trained, as a strict, frozen, documented table.

A recipe is a TOML file with one section for each part of the work. Unknown keys, wrong types and impossible
combinations are refused before anything runs. What a machine decides (device, threads) is no part of it.
"""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from os.path import abspath, expanduser
from pathlib import Path
from typing import Any, Literal

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aurelius import recipes
from aurelius.errors import RecipeError

SPECIAL_TOKENS = ("<s>", "</s>", "<unk>", "<sink>")
BOS, EOS, UNK, SINK = range(4)
BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))


class Part(BaseModel):
    """A section of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class CorpusRecipe(Part):
    """Where the stories come from, and which are kept."""

    source: str = Field(
        default="storyteller",
        min_length=1,
        description="'storyteller' (built in), a .txt, .jsonl or .parquet file, or hf:owner/dataset/file",
    )
    column: str = Field(
        default="text", min_length=1, description="the column or key with the text (parquet, jsonl)"
    )
    stories: int = Field(
        default=0, ge=0, description="stories kept at most; 0 keeps all, of the endless storyteller 30,000"
    )
    min_words: int = Field(default=10, ge=1, description="shorter stories are dropped (words)")
    max_words: int = Field(default=2000, ge=1, description="longer stories are dropped (words)")
    valid_fraction: float = Field(
        default=0.02,
        gt=0,
        lt=0.5,
        description="share of the stories held out, chosen by a hash of their text",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of the split and of the storyteller")

    @model_validator(mode="after")
    def _consistent(self):
        if self.min_words > self.max_words:
            raise ValueError(f"min_words {self.min_words} is above max_words {self.max_words}")
        return self


class TokenizerRecipe(Part):
    """The suffix-space BPE tokenizer: a word carries its trailing space."""

    vocab_size: int = Field(
        default=1536,
        le=65536,
        description="tokens, with 4 special and 256 byte tokens (at most 65536: uint16)",
    )
    normalizer: Literal["portable", "reference"] = Field(
        default="portable",
        description="portable: trailing whitespace becomes one space; reference: the card's rules",
    )
    split: Literal["separate", "glued"] = Field(
        default="separate", description="separate: punctuation is parted from words; glued: it stays on them"
    )
    max_characters: int = Field(
        default=96,
        ge=1,
        description="the most frequent characters that become tokens; the others are spelt in bytes",
    )

    @model_validator(mode="after")
    def _consistent(self):
        least = len(SPECIAL_TOKENS) + len(BYTE_TOKENS) + self.max_characters
        if self.vocab_size < least:
            raise ValueError(
                f"vocab_size {self.vocab_size} is too small: {len(SPECIAL_TOKENS)} special tokens + "
                f"{len(BYTE_TOKENS)} byte tokens + max_characters {self.max_characters} need at least {least}"
            )
        return self


class ModelRecipe(Part):
    """The shape of the Llama (embeddings tied, no biases)."""

    layers: int = Field(ge=1, description="transformer layers (num_hidden_layers)")
    d_model: int = Field(ge=2, description="width of the residual stream (hidden_size)")
    d_mlp: int = Field(ge=1, description="width of the SwiGLU layer (intermediate_size)")
    heads: int = Field(ge=1, description="query heads; head_dim is d_model / heads (num_attention_heads)")
    kv_heads: int = Field(ge=1, description="key and value heads, a divisor of heads (num_key_value_heads)")
    context: int = Field(ge=8, description="tokens a block and a prompt hold (max_position_embeddings)")
    rope_theta: float = Field(default=10000.0, gt=0, description="base of the rotary position embedding")
    norm_eps: float = Field(default=1e-5, gt=0, description="epsilon of RMSNorm (rms_norm_eps)")

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.heads

    @model_validator(mode="after")
    def _consistent(self):
        if self.d_model % self.heads:
            raise ValueError(f"heads {self.heads} does not divide d_model {self.d_model}")
        if self.head_dim % 2:
            raise ValueError(
                f"head_dim {self.head_dim} (d_model {self.d_model} / heads {self.heads}) is odd; "
                "the rotary embedding turns pairs"
            )
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads {self.kv_heads} does not divide heads {self.heads}")
        return self

    def matmul_parameters(self, vocab_size: int) -> int:
        """Return how many parameters take part in a matrix product for each token (the head included)."""
        attention = 2 * self.d_model * self.head_dim * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.d_model * self.d_mlp) + vocab_size * self.d_model

    def parameters(self, vocab_size: int) -> int:
        """Return the number of parameters; the embedding is counted once, being tied to the head."""
        return self.matmul_parameters(vocab_size) + (2 * self.layers + 1) * self.d_model


class TrainingRecipe(Part):
    """How the model is trained."""

    steps: int = Field(ge=0, description="optimizer steps; 0 only with minutes, until they are resolved")
    minutes: float = Field(
        default=0.0, ge=0, description="the budget (minutes) that steps were resolved from; 0: none"
    )
    batch: int = Field(default=8, ge=1, description="blocks a step; a step trains on batch x context tokens")
    accumulate: int = Field(
        default=1, ge=1, description="micro-batches a step is cut into, a divisor of batch"
    )
    optimizer: Literal["muon", "adamw"] = Field(
        default="muon", description="muon: Muon for the matrices, AdamW for the rest; adamw: AdamW for all"
    )
    learning_rate: float = Field(default=0.008, gt=0, description="peak learning rate of AdamW")
    muon_learning_rate: float = Field(default=0.02, gt=0, description="peak learning rate of Muon")
    weight_decay: float = Field(
        default=0.1, ge=0, description="decoupled weight decay of matrices (not of norms)"
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's decay of the first moment")
    beta2: float = Field(default=0.98, ge=0, lt=1, description="AdamW's decay of the second moment")
    momentum: float = Field(default=0.95, ge=0, lt=1, description="Muon's momentum")
    warmup: float = Field(
        default=0.02, ge=0, le=1, description="share of the steps over which the rate rises"
    )
    decay: float = Field(
        default=0.4, ge=0, le=1, description="share of the steps, at the end, over which it falls"
    )
    final_rate: float = Field(
        default=0.0, ge=0, le=1, description="the rate at the end, as a share of the peak"
    )
    clip: float = Field(default=1.0, ge=0, description="the gradient's norm is cut to this; 0 cuts nothing")
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="seed of the initial weights and of the order of the stories"
    )
    log_every: int = Field(default=10, ge=1, description="steps between lines of metrics.jsonl")
    validate_every: int = Field(default=250, ge=1, description="steps between validations")
    validate_blocks: int = Field(default=64, ge=1, description="blocks in a validation during training")
    checkpoint_every: int = Field(default=250, ge=1, description="steps between checkpoints")
    keep: int = Field(default=2, ge=1, description="checkpoints kept, the newest ones")

    @model_validator(mode="after")
    def _consistent(self):
        if self.steps == 0 and self.minutes == 0:
            raise ValueError("steps is 0 and minutes is 0: give one of them")
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate {self.accumulate} does not divide batch {self.batch}")
        if self.warmup + self.decay > 1:
            raise ValueError(f"warmup {self.warmup} + decay {self.decay} is above 1, the whole training")
        return self


class EvaluationRecipe(Part):
    """What the run is measured on at the end."""

    stories: int = Field(
        default=0, ge=0, description="held-out stories measured, from the first; 0 measures all"
    )


class GenerationRecipe(Part):
    """How the published model samples by default (generation_config.json)."""

    temperature: float = Field(
        default=0.5, ge=0, description="softmax temperature; 0 takes the likeliest token"
    )
    min_p: float = Field(
        default=0.15, ge=0, le=1, description="tokens below this share of the likeliest are cut"
    )
    top_k: int = Field(default=0, ge=0, description="only the k likeliest tokens; 0 keeps all")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="the likeliest tokens that make up this probability"
    )
    max_new_tokens: int = Field(default=128, ge=1, description="tokens generated at most")


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
        if (path / "recipe.toml").is_file():
            path /= "recipe.toml"
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
        source = recipe.corpus.source
        if source != "storyteller" and not source.startswith("hf:"):
            absolute = recipe.corpus.model_copy(update={"source": abspath(expanduser(source))})
            recipe = recipe.model_copy(update={"corpus": absolute})
        return recipe

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
        RecipeError: there is no ``=``.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {text!r}: expected KEY=VALUE, such as training.steps=2000")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


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
