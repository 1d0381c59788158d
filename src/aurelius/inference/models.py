"""A language model as evaluation and generation see it: ours from a run, or any causal LM folder.

Shapes: B batch, T positions, V vocabulary.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import ValidationError
from torch import Tensor

from aurelius import device as devices
from aurelius.config.recipe import RECIPE, Recipe
from aurelius.config.sections import GenerationRecipe as Sampling
from aurelius.errors import (
    HubError,
    ModelError,
    first_line,
    some,
)
from aurelius.model.llama import Cache, Llama
from aurelius.special_tokens import SpecialTokens
from aurelius.tokenizer import load as tokenizers
from aurelius.training.checkpoint import latest, load_model


class LanguageModel(Protocol):
    """What a model must answer."""

    name: str
    context: int
    vocab_size: int
    parameters: int
    prefix: list[int]  # ids before every text, as at inference
    banned: list[int]  # ids that are never generated
    sampling: Sampling  # how it writes unless told otherwise

    @property
    def end(self) -> int | None:
        """The id that ends a story."""
        ...

    @property
    def unknown(self) -> int | None:
        """The id of what the vocabulary cannot spell."""
        ...

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Return the ids of a text, without prefix or end.

        Special tokens typed in it are text, but under ``special``.
        """
        ...

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids, special ones left out."""
        ...

    def logits(self, ids: Tensor) -> Tensor:
        """Map ids [B, T] to float32 logits [B, T, V]; T is at most the context."""
        ...

    def new_cache(self) -> Any:
        """Return an empty cache for `following`."""
        ...

    def following(self, ids: list[int], cache: Any) -> Tensor:
        """Feed ids after those the cache holds; return the next token's float32 logits [V], on the CPU."""
        ...


class RunModel:
    """A model trained here, with its run's tokenizer."""

    def __init__(self, model: Llama, tokenizer_file: Path, name: str, sampling: Sampling | None = None):
        self.model, self.name = model.eval(), name
        self.sampling = sampling or Sampling()
        self.tokenizer = tokenizers.load(tokenizer_file)
        self.context, self.vocab_size = model.shape.context, model.vocab_size
        self.parameters = sum(p.numel() for p in model.parameters())
        special = SpecialTokens.read(tokenizer_file.parent)
        self.prefix, self.end, self.unknown = special.prefix, special.end, special.unknown
        self.banned = sorted({*self.prefix, self.unknown} - {None, self.end})
        self.device = model.model.embed_tokens.weight.device
        found = self.tokenizer.get_vocab_size()
        if found != self.vocab_size:
            raise ModelError(f"{tokenizer_file} has {found} tokens, the model {self.vocab_size}")

    @classmethod
    def open(cls, run: Path, device: str = "auto") -> "RunModel":
        """Open the newest checkpoint of a run folder.

        Raises:
            ModelError: nothing is trained yet, or the weights are damaged.
            RunError, RecipeError, TokenizerError: another file of the run is missing or damaged.
        """
        recipe = Recipe.load(run)
        path = latest(run / "training")
        model = load_model(recipe, path, devices.pick(device))
        name = f"{run.name}, {path.name}"
        return cls(model, run / "tokenizer" / "tokenizer.json", name, recipe.generation)

    def encode(self, text: str, special: bool = False) -> list[int]:
        """See `LanguageModel`."""
        self.tokenizer.encode_special_tokens = not special
        return self.tokenizer.encode(tokenizers.check_text(text), add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        """See `LanguageModel`."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    @torch.no_grad()
    def logits(self, ids: Tensor) -> Tensor:
        """See `LanguageModel`."""
        return self.model(ids.to(self.device))

    def new_cache(self) -> Cache:
        """See `LanguageModel`."""
        return Cache(self.model.shape.layers)

    @torch.no_grad()
    def following(self, ids: list[int], cache: Cache) -> Tensor:
        """See `LanguageModel`."""
        return self.model(torch.tensor([ids], device=self.device), cache)[0, -1].cpu()


class TransformersModel:
    """Any causal language model that stock transformers loads, with its own tokenizer."""

    def __init__(self, source: str, device: str = "auto"):
        """Load a folder, or a hub model named ``hf:owner/name``.

        Raises:
            ModelError: the folder is not a causal language model with safetensors weights, whole ones.
            HubError: the hub cannot be reached or does not have it.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # the library never prints
        where = source.removeprefix("hf:")
        try:
            # Asked for nothing but weights: no code of the folder's is run, no pickle is read.
            self.tokenizer: Any = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
            found: Any = AutoModelForCausalLM.from_pretrained(
                where,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except Exception as error:  # transformers raises many kinds for one user's mistake
            kind = HubError if source.startswith("hf:") else ModelError
            raise kind(
                f"{source} cannot be loaded as a causal language model: {first_line(error)}"
            ) from error
        finally:
            if bars:
                logging.enable_progress_bar()
        self.model: Any = found[0]
        loaded = found[1]
        # Missing weights would be random ones. Left over may be what is computed anew, never a matrix.
        if missing := sorted(loaded["missing_keys"]):
            raise ModelError(f"{source} lacks weights that its config.json asks for: {some(missing)}")
        if extra := sorted(name for name in loaded["unexpected_keys"] if name.endswith(".weight")):
            raise ModelError(f"{source} has weights that its config.json does not know: {some(extra)}")
        self.device = devices.pick(device)
        self.model.to(self.device).eval()
        config = self.model.config
        limits = (getattr(config, "max_position_embeddings", None), self.tokenizer.model_max_length)
        self.name = source
        self.context = min([1 << 16] + [n for n in limits if n])
        self.vocab_size = config.vocab_size
        self.parameters = self.model.num_parameters()
        self.end, self.unknown = self.tokenizer.eos_token_id, self.tokenizer.unk_token_id
        special = set(self.tokenizer.all_special_ids)
        self.prefix = [i for i in self.tokenizer("").input_ids if i in special and i != self.end]
        if not self.prefix:  # as good a beginning as such a model knows
            begin = (self.tokenizer.bos_token_id, self.end)
            self.prefix = [i for i in begin if i is not None][:1]
        self.banned = sorted(special - {self.end})
        self.sampling = sampling_of(
            self.model.generation_config.to_dict(), f"{source}: generation_config.json"
        )

    def encode(self, text: str, special: bool = False) -> list[int]:
        """See `LanguageModel`."""
        tokenizers.check_text(text)
        ids = self.tokenizer(
            text, add_special_tokens=False, split_special_tokens=not special, verbose=False
        ).input_ids
        if max(ids, default=0) >= self.vocab_size:
            raise ModelError(
                f"{self.name}: the tokenizer has token {max(ids)}, the model knows {self.vocab_size}; "
                "this tokenizer does not belong to this model"
            )
        return ids

    def decode(self, ids: list[int]) -> str:
        """See `LanguageModel`."""
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    @torch.no_grad()
    def logits(self, ids: Tensor) -> Tensor:
        """See `LanguageModel`."""
        return self.model(input_ids=ids.to(self.device), use_cache=False).logits.float()

    def new_cache(self) -> Any:
        """See `LanguageModel`."""
        from transformers import DynamicCache

        return DynamicCache(config=self.model.config)

    @torch.no_grad()
    def following(self, ids: list[int], cache: Any) -> Tensor:
        """See `LanguageModel`."""
        tensor = torch.tensor([ids], device=self.device)
        return self.model(input_ids=tensor, past_key_values=cache, use_cache=True).logits[0, -1].float().cpu()


def open_model(source: str | Path, device: str = "auto") -> LanguageModel:
    """Open a run folder, a Hugging Face folder, or ``hf:owner/name``.

    A name that is no path, such as ``nano``, stands for the run ``runs/nano``.

    Raises:
        ModelError: it is none of these, or damaged.
        HubError: the hub cannot be reached or does not have it.
    """
    source = str(source)
    path = Path(source)
    if source.startswith("hf:"):
        return TransformersModel(source, device)
    if not path.exists() and (Path("runs") / path).is_dir():
        path = Path("runs") / path
    if (path / RECIPE).is_file():
        return RunModel.open(path, device)
    if (path / "config.json").is_file():
        return TransformersModel(str(path), device)
    what = (
        "holds neither recipe.toml (a run) nor config.json (a model)" if path.is_dir() else "does not exist"
    )
    raise ModelError(f"{source} {what}; give a run folder, a Hugging Face folder, or hf:owner/name")


def sampling_of(given: Mapping[str, Any], where: str) -> Sampling:
    """Return how a ``generation_config.json`` samples; where it does not, our own way.

    Raises:
        ModelError: a value is impossible; the message says ``where``.
    """
    if not given.get("do_sample"):
        return Sampling()
    # What transformers takes where the file is silent, but for the length.
    plain = {"temperature": 1.0, "min_p": 0.0, "top_k": 50, "top_p": 1.0, "max_new_tokens": 128}
    try:
        return Sampling(**{k: v if given.get(k) is None else given[k] for k, v in plain.items()})
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(f"{where} has {first['loc'][0]} {first['input']!r}: {first['msg']}") from None
