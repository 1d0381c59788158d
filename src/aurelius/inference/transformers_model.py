"""Any causal language model that stock transformers loads, with its own tokenizer."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aurelius import device as devices
from aurelius.errors import HubError, ModelError, first_line, some
from aurelius.inference.language_model import Inside, check_special, leading
from aurelius.inference.prompt_end import Vocabulary
from aurelius.inference.sampling import sampling_of
from aurelius.tokenizer.load import check_text


class TransformersModel:
    """See `LanguageModel`."""

    def __init__(self, source: str, device: str = "auto"):
        """Load a folder, or a hub model named ``hf:owner/name``.

        Raises:
            ModelError: the folder is not a causal language model with complete safetensors weights.
            HubError: the hub cannot be reached or does not have it.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # the library never prints
        name = source.removeprefix("hf:")
        try:
            # Nothing but weights: no code in the folder is run, no pickle is read.
            self.tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                name,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except Exception as error:  # transformers raises many kinds for the same mistake
            kind = HubError if source.startswith("hf:") else ModelError
            raise kind(
                f"{source} cannot be loaded as a causal language model: {first_line(error)}"
            ) from error
        finally:
            if bars:
                logging.enable_progress_bar()
        self.model: Any = loaded[0]
        info = loaded[1]
        # Missing weights would be random. Buffers that are recomputed may be left over, but never a matrix.
        if missing := sorted(info["missing_keys"]):
            raise ModelError(f"{source} lacks weights that its config.json calls for: {some(missing)}")
        if extra := sorted(name for name in info["unexpected_keys"] if name.endswith(".weight")):
            raise ModelError(f"{source} has weights that its config.json does not mention: {some(extra)}")
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
        begin = self.tokenizer.bos_token_id
        self.prefix = leading(self.tokenizer("").input_ids, special, begin, self.end)
        self.suppressed = sorted(special - {self.end})
        check_special([*self.prefix, self.end, self.unknown, *self.suppressed], self.vocab_size, source)
        fast = getattr(self.tokenizer, "backend_tokenizer", None)
        self.vocabulary = Vocabulary.of(fast) if fast else None
        self.sampling = sampling_of(
            self.model.generation_config.to_dict(), f"{source}: generation_config.json"
        )

    def encode(self, text: str, parse_special: bool = False) -> list[int]:
        """See `LanguageModel`."""
        check_text(text)
        ids = self.tokenizer(
            text, add_special_tokens=False, split_special_tokens=not parse_special, verbose=False
        ).input_ids
        if max(ids, default=0) >= self.vocab_size:
            raise ModelError(
                f"{self.name}: the tokenizer has token {max(ids)}, but the model has only {self.vocab_size}; "
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

    @torch.no_grad()
    def inside(self, ids: Tensor) -> Inside:
        """See `LanguageModel`."""
        before = self.model.config._attn_implementation
        self.model.set_attn_implementation("eager")  # others do not keep the weights
        try:
            found = self.model(
                input_ids=ids.to(self.device),
                use_cache=False,
                output_hidden_states=True,
                output_attentions=True,
            )
        finally:
            self.model.set_attn_implementation(before)
        if not found.attentions or len({each.shape for each in found.hidden_states}) > 1:
            raise ModelError(f"{self.name} does not show its attention, or its layers differ in width")
        hidden, attention = torch.stack(found.hidden_states), torch.stack(found.attentions)
        return Inside(hidden.float().cpu(), attention.float().cpu())

    def head(self) -> Tensor:
        """See `LanguageModel`."""
        layer = self.model.get_output_embeddings()
        probe = torch.tensor([self.prefix or [0]])
        if layer is not None:
            weight = layer.weight.detach().float().cpu()
            expected, last = self.logits(probe).cpu(), self.inside(probe).hidden[-1]
            if last.shape[-1] == weight.shape[1] and torch.allclose(last @ weight.T, expected, atol=1e-3):
                return weight
        raise ModelError(
            f"{self.name} has a head that is more than one matrix (a bias, a scale, a cap), and so no such "
            "spectrum"
        )

    def new_cache(self) -> Any:
        """See `LanguageModel`."""
        from transformers import DynamicCache

        return DynamicCache(config=self.model.config)

    @torch.no_grad()
    def next_token_logits(self, ids: list[int], cache: Any) -> NDArray[np.float32]:
        """See `LanguageModel`."""
        tensor = torch.tensor([ids], device=self.device)
        logits = self.model(input_ids=tensor, past_key_values=cache, use_cache=True).logits
        return logits[0, -1].float().cpu().numpy()

    def rewind(self, cache: Any, length: int) -> None:
        """See `LanguageModel`."""
        if surplus := cache.get_seq_length() - length:
            cache.crop(-surplus)
