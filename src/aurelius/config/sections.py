"""The sections of a recipe: every field with its default, its meaning and unit, and what is allowed."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from aurelius.special_tokens import BYTE_TOKENS, SPECIAL_TOKENS

IMPORTED = "imported"  # a model within the run's own folder
Name = Annotated[str, Field(min_length=1)]
CleaningStep = Literal["mojibake", "characters", "quotes", "paragraphs", "story", "english", "cut"]


class Part(BaseModel):
    """A section of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class CorpusRecipe(Part):
    """Where the stories come from, and which are kept."""

    source: Name | list[Name] = Field(
        default="storyteller",
        min_length=1,
        description="'storyteller' (built in), a file, folder or pattern, hf:owner/dataset/file, or a list "
        "of them",
    )
    column: str = Field(
        default="text", min_length=1, description="the column or key with the text (parquet, json, jsonl)"
    )
    encoding_errors: Literal["strict", "replace"] = Field(
        default="strict", description="bytes that are not UTF-8: strict refuses the file, replace puts U+FFFD"
    )
    stories: int = Field(
        default=0,
        ge=0,
        description="stories kept at most, those held out among them, an even sample; 0 keeps all, of the "
        "endless storyteller 30,000",
    )
    clean: list[CleaningStep] = Field(
        default=["mojibake", "characters", "story", "english", "cut"],
        description="what is mended (mojibake, characters, quotes, paragraphs) or refused (story: what is "
        "none; english; cut: without beginning or end)",
    )
    near: Literal["drop", "together", "keep"] = Field(
        default="drop",
        description="near duplicates: drop keeps one of each cluster; together keeps all, on one side of the "
        "split; keep keeps all",
    )
    similarity: float = Field(
        default=0.8,
        ge=0.8,
        le=1,
        description="Jaccard similarity of word 5-grams that makes near duplicates; below, many are missed",
    )
    valid_source: str = Field(
        default="", description="stories held out come from here, not from the source; empty: from the split"
    )
    remove_overlap: bool = Field(
        default=False, description="training stories that repeat one of valid_source, nearly too, are dropped"
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
        default=4096,
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
    source: str = Field(
        default="",
        description="a model's folder whose tokenizer is taken (imported: the run's own); empty: none",
    )
    stories: int = Field(
        default=200_000,
        ge=1,
        description="training stories it is learned from, at most; the first, which are an even sample",
    )
    max_characters: int = Field(
        default=96,
        ge=1,
        description="the most frequent characters that become tokens; the others are spelt in bytes",
    )

    @model_validator(mode="after")
    def _consistent(self):
        if self.source:
            return self
        least = len(SPECIAL_TOKENS) + len(BYTE_TOKENS) + self.max_characters
        if self.vocab_size < least:
            raise ValueError(
                f"vocab_size {self.vocab_size} is too small: {len(SPECIAL_TOKENS)} special tokens + "
                f"{len(BYTE_TOKENS)} byte tokens + max_characters {self.max_characters} need at least {least}"
            )
        return self


class ModelRecipe(Part):
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
        ge=8, le=2**20, description="tokens a block and a prompt hold (max_position_embeddings)"
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

    steps: int = Field(
        ge=0,
        le=10**9,
        description="optimizer steps; 0 with start, or with minutes until they are resolved",
    )
    start: str = Field(
        default="",
        description="a model's folder that training begins with (imported: the run's own); empty: none",
    )
    minutes: float = Field(
        default=0.0, ge=0, le=10**6, description="the budget (minutes) that steps were resolved from; 0: none"
    )
    batch: int = Field(
        default=8, ge=1, le=2**20, description="blocks a step; a step trains on batch x context tokens"
    )
    accumulate: int = Field(
        default=1, ge=1, description="micro-batches a step is cut into, a divisor of batch"
    )
    story_start: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="share of the blocks that begin where a story does; the others begin anywhere in one",
    )
    attention: Literal["story", "block"] = Field(
        default="story", description="how far a token sees back: to the beginning of its story, or its block"
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
    spike: float = Field(
        default=1.5, ge=0, description="a mean loss this far (nats) above the lowest stops training; 0 never"
    )
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
        if self.steps == 0 and self.minutes == 0 and not self.start:
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


class ExportRecipe(Part):
    """How the model is stored in the files for further runtimes."""

    onnx: list[Literal["fp32", "fp16", "int8", "q4"]] = Field(
        default=["fp32", "fp16", "int8", "q4"], min_length=1, description="precisions of the ONNX files"
    )
    gguf: list[Literal["F32", "F16", "Q8_0", "Q4_0"]] = Field(
        default=[],
        description="types of the GGUF files; empty: all of F32, F16, Q8_0, Q4_0 that fit the shape",
    )
    corpus_license: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9.-]*$",
        description="licence of the corpus for the model card, as the hub spells it (cc-by-4.0); empty: "
        "known for some, else not stated",
    )
