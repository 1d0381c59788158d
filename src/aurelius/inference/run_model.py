"""A model trained here, with the tokenizer of its run."""

from pathlib import Path

import torch
from torch import Tensor

from aurelius import device as devices
from aurelius.config.recipe import Recipe
from aurelius.config.settings import GenerationSettings as Sampling
from aurelius.errors import ModelError
from aurelius.inference.language_model import check_special
from aurelius.model.checkpoint_folder import load_model, newest_checkpoint
from aurelius.model.llama import KVCache, Llama
from aurelius.run_paths import RunPaths
from aurelius.special_tokens import SpecialTokens
from aurelius.tokenizer.load import check_text, load


class RunModel:
    """See `LanguageModel`."""

    def __init__(self, model: Llama, tokenizer_file: Path, name: str, sampling: Sampling | None = None):
        self.model, self.name = model.eval(), name
        self.sampling = sampling or Sampling()
        self.tokenizer, self._parsing = load(tokenizer_file), load(tokenizer_file)
        self.tokenizer.encode_special_tokens, self._parsing.encode_special_tokens = True, False
        self.context, self.vocab_size = model.shape.context, model.vocab_size
        self.parameters = sum(p.numel() for p in model.parameters())
        special = SpecialTokens.read(tokenizer_file.parent)
        self.prefix, self.end, self.unknown = special.prefix, special.end, special.unknown
        self.suppressed = sorted({*self.prefix, self.unknown} - {None, self.end})
        self.device = model.model.embed_tokens.weight.device
        size = self.tokenizer.get_vocab_size()
        if size != self.vocab_size:
            raise ModelError(f"{tokenizer_file} has {size} tokens, the model {self.vocab_size}")
        check_special([*self.prefix, self.end, self.unknown], self.vocab_size, str(tokenizer_file.parent))

    @classmethod
    def open(cls, run: Path, device: str = "auto") -> "RunModel":
        """Open the newest checkpoint of a run folder.

        Raises:
            ModelError: nothing is trained yet, or the weights are damaged.
            RunError, RecipeError, TokenizerError: another file of the run is missing or damaged.
        """
        recipe, paths = Recipe.load(run), RunPaths(run)
        path = newest_checkpoint(paths.training)
        model = load_model(recipe, path, devices.pick(device))
        name = f"{run.name}, {path.name}"
        return cls(model, paths.tokenizer_file, name, recipe.generation)

    def encode(self, text: str, parse_special: bool = False) -> list[int]:
        """See `LanguageModel`."""
        tokenizer = self._parsing if parse_special else self.tokenizer
        return tokenizer.encode(check_text(text), add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        """See `LanguageModel`."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    @torch.no_grad()
    def logits(self, ids: Tensor) -> Tensor:
        """See `LanguageModel`."""
        return self.model(ids.to(self.device))

    def new_cache(self) -> KVCache:
        """See `LanguageModel`."""
        return KVCache(self.model.shape.layers)

    @torch.no_grad()
    def next_token_logits(self, ids: list[int], cache: KVCache) -> Tensor:
        """See `LanguageModel`."""
        return self.model(torch.tensor([ids], device=self.device), cache)[0, -1].cpu()
