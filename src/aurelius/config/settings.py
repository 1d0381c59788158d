"""The sections of a recipe: every field with its default, its meaning and unit, and what is allowed.

A field decides the result unless it is declared with `operational`, which only says how a run is operated.
A field whose default changes after its introduction keeps the first one as ``introduced``: that is what an
older run without the field used.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from aurelius.special_tokens import BYTE_TOKENS, SPECIAL_TOKENS

IMPORTED = "imported"  # a model within the run's own folder
Name = Annotated[str, Field(min_length=1)]
CleaningStep = Literal["mojibake", "characters", "quotes", "paragraphs", "story", "english", "cut"]


class Section(BaseModel):
    """A section of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def operational(**field: Any) -> Any:
    """Declare a field that may change on an existing run: it does not decide the result."""
    return Field(json_schema_extra={"operational": True}, **field)


def is_operational(section: type[Section], key: str) -> bool:
    """Whether a field only says how a run is operated."""
    extra = section.model_fields[key].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("operational"))


def introduced_default(section: type[Section], key: str) -> Any:
    """Return the value that a run made before the field existed has for it."""
    field = section.model_fields[key]
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "introduced" in extra:
        return extra["introduced"]
    return field.get_default(call_default_factory=True)


class CorpusSettings(Section):
    """Where the stories come from, and which are kept."""

    source: Name | list[Name] = Field(
        default="storyteller",
        min_length=1,
        description="'storyteller' (built in), a file, folder or pattern, hf:owner/dataset/file, or a list "
        "of them",
    )
    column: str = Field(
        default="text", min_length=1, description="column or key with the text (parquet, json, jsonl)"
    )
    encoding_errors: Literal["strict", "replace"] = Field(
        default="strict",
        description="bytes that are not UTF-8: strict refuses the file, replace makes them U+FFFD",
    )
    separator: str = Field(
        default="auto",
        min_length=1,
        description="what separates the stories of a text: auto, line, blank, file, or any text such as ---",
    )
    stories: int = Field(
        default=0,
        ge=0,
        description="most stories to keep, a uniform sample, including those held out; 0 keeps all (30,000 "
        "of the endless storyteller)",
    )
    clean: list[CleaningStep] = Field(
        default=["mojibake", "characters", "story", "english", "cut"],
        description="what is repaired (mojibake, characters, quotes, paragraphs) and what is dropped (story: "
        "what is not a story; english: other languages; cut: truncated stories)",
    )
    near_duplicates: Literal["drop", "together", "keep"] = Field(
        default="drop",
        description="drop keeps one of each cluster; together keeps all on one side of the split; keep keeps "
        "all",
    )
    similarity: float = Field(
        default=0.8,
        ge=0.8,
        le=1,
        description="Jaccard similarity of word 5-grams from which stories are near duplicates",
    )
    valid_source: str = Field(
        default="", description="source of the held-out stories; empty: a share of the source's"
    )
    remove_overlap: bool = Field(
        default=False,
        description="drop training stories that are duplicates or near duplicates of one in valid_source",
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


class TokenizerSettings(Section):
    """The suffix-space BPE tokenizer: a word carries its trailing space."""

    vocab_size: int = Field(
        default=4096,
        le=65536,
        description="tokens, including 4 special and 256 byte tokens (at most 65536: uint16)",
    )
    normalizer: Literal["portable", "reference"] = Field(
        default="portable",
        description="portable: trailing whitespace becomes one space; reference: the reference card's rules",
    )
    split: Literal["separate", "glued"] = Field(
        default="separate",
        description="separate: punctuation is separate from words; glued: it is part of them",
    )
    prefix: Literal["sink", "begin", "end"] = Field(
        default="sink",
        description="what every text begins with, if the tokenizer is trained here: sink: <sink> <s>; "
        "begin: <s>; end: </s>, which also ends the story before",
    )
    source: str = Field(
        default="",
        description="model folder to take the tokenizer from (imported: the run's own); empty: train one",
    )
    stories: int = Field(
        default=200_000,
        ge=1,
        description="most training stories to train it on; the first ones, which are a uniform sample",
    )
    max_characters: int = Field(
        default=96,
        ge=1,
        description="number of most frequent characters that become tokens; others are spelt in bytes",
    )

    @model_validator(mode="after")
    def _consistent(self):
        if self.source:
            if self.prefix != "sink":
                raise ValueError(
                    f"prefix {self.prefix!r} is for a tokenizer that is trained here, but source "
                    "takes an existing one, with its prefix"
                )
            return self
        least = len(SPECIAL_TOKENS) + len(BYTE_TOKENS) + self.max_characters
        if self.vocab_size < least:
            raise ValueError(
                f"vocab_size {self.vocab_size} is too small: {len(SPECIAL_TOKENS)} special tokens + "
                f"{len(BYTE_TOKENS)} byte tokens + max_characters {self.max_characters} need at least {least}"
            )
        return self


class ModelSettings(Section):
    """The shape of the Llama (embeddings tied, no biases)."""

    layers: int = Field(ge=1, le=1000, description="transformer layers (num_hidden_layers)")
    d_model: int = Field(ge=2, le=2**16, description="width of the residual stream (hidden_size)")
    d_mlp: int = Field(ge=1, le=2**18, description="width of the SwiGLU layer (intermediate_size)")
    heads: int = Field(
        ge=1, le=2**10, description="query heads; head_dim is d_model / heads (num_attention_heads)"
    )
    kv_heads: int = Field(
        ge=1, le=2**10, description="key and value heads, a divisor of heads (num_key_value_heads)"
    )
    context: int = Field(
        ge=8,
        le=2**20,
        description="tokens per training block, and at most per prompt and story (max_position_embeddings)",
    )
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
                "the rotary embedding rotates pairs"
            )
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads {self.kv_heads} does not divide heads {self.heads}")
        return self

    def matmul_parameters(self, vocab_size: int) -> int:
        """Return how many parameters take part in matrix products for each token (the head included)."""
        attention = 2 * self.d_model * self.head_dim * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.d_model * self.d_mlp) + vocab_size * self.d_model

    def parameters(self, vocab_size: int) -> int:
        """Return the number of parameters; the embedding, tied to the head, is counted once."""
        return self.matmul_parameters(vocab_size) + (2 * self.layers + 1) * self.d_model


class TrainingSettings(Section):
    """How the model is trained."""

    steps: int = Field(
        ge=0,
        le=10**9,
        description="optimizer steps; 0 with start, or with minutes until these are turned into steps",
    )
    start: str = Field(
        default="",
        description="model folder whose weights training starts from (imported: the run's own); empty: none",
    )
    minutes: float = Field(
        default=0.0,
        ge=0,
        le=10**6,
        description="time budget of the whole run, which the clock keeps; steps is then a plan; 0: none",
    )
    batch: int = Field(
        default=8, ge=1, le=2**20, description="sequences per step; a step has batch x context tokens"
    )
    accumulate: int = operational(
        default=1, ge=1, description="micro-batches per step (gradient accumulation), a divisor of batch"
    )
    engine: Literal["auto", "autograd"] = operational(
        default="auto",
        description="what computes gradients: auto takes compiled code on a CPU; autograd is PyTorch's",
    )
    story_start: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="share of the blocks that start with a story; the others start anywhere in one",
    )
    attention: Literal["story", "block"] = Field(
        default="story", description="what a token attends to: its own story, or the whole block before it"
    )
    warmup: float = Field(
        default=0.02, ge=0, le=1, description="share of the steps over which the learning rate rises"
    )
    decay: float = Field(
        default=0.4, ge=0, le=1, description="share of the steps, at the end, over which it falls"
    )
    final_rate: float = Field(
        default=0.0, ge=0, le=1, description="learning rate at the end, as a share of the peak"
    )
    gradient_clip: float = Field(
        default=1.0, ge=0, description="largest norm of the gradient (gradient clipping); 0: no clipping"
    )
    max_loss_rise: float = operational(
        default=1.5,
        ge=0,
        description="training stops if the mean loss rises this far (nats) above its lowest; 0: never",
    )
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="seed of the initial weights and of the order of the stories"
    )
    log_every: int = operational(default=10, ge=1, description="steps between lines of metrics.jsonl")
    validate_every: int = operational(default=250, ge=1, description="steps between validations")
    validate_blocks: int = operational(
        default=64, ge=1, description="held-out blocks per validation during training"
    )
    checkpoint_every: int = operational(default=250, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = operational(default=2, ge=1, description="number of newest checkpoints to keep")

    @model_validator(mode="after")
    def _consistent(self):
        if self.steps == 0 and self.minutes == 0 and not self.start:
            raise ValueError("steps is 0 and minutes is 0: set one of them")
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate {self.accumulate} does not divide batch {self.batch}")
        if self.warmup + self.decay > 1:
            raise ValueError(f"warmup {self.warmup} + decay {self.decay} is above 1, the whole training")
        return self


class EvaluationSettings(Section):
    """What the run is measured on at the end."""

    stories: int = Field(
        default=0, ge=0, description="held-out stories to measure, from the first; 0 measures all"
    )


class GenerationSettings(Section):
    """How the published model samples by default (generation_config.json)."""

    temperature: float = Field(
        default=1.0, ge=0, description="softmax temperature; 0 always takes the likeliest token"
    )
    min_p: float = Field(
        default=0.15, ge=0, le=1, description="tokens below this share of the likeliest one are excluded"
    )
    top_k: int = Field(default=0, ge=0, description="sample from the k likeliest tokens; 0: from all")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="sample from the likeliest tokens that make up this probability"
    )
    max_new_tokens: int = Field(
        default=0, ge=0, description="most tokens to generate; 0: as many as the context holds"
    )


class ExportSettings(Section):
    """How the model is stored in the files for further runtimes."""

    onnx: list[Literal["fp32", "fp16", "int8", "q4"]] = Field(
        default=["fp32", "fp16", "int8", "q4"], min_length=1, description="precisions of the ONNX files"
    )
    gguf: list[Literal["F32", "F16", "Q8_0", "Q4_0"]] = Field(
        default=[],
        description="types of the GGUF files; empty: all of F32, F16, Q8_0, Q4_0 that fit the shape",
    )
    large_page: bool = operational(
        default=False, description="write a page for a model of more than ten million parameters, too"
    )
    corpus_license: str = operational(
        default="",
        pattern=r"^[A-Za-z0-9.-]*$",
        description="licence of the corpus for the model card, in the hub's spelling (cc-by-4.0); empty: as "
        "known for some corpora, else not stated",
    )
