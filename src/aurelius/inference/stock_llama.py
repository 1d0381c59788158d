"""A Hugging Face folder with a plain Llama, such as an export of ours."""

from pathlib import Path
from typing import Any

from aurelius.errors import ModelError, RunError, TokenizerError
from aurelius.files import read_json
from aurelius.inference.language_model import Scorer, check_special, leading
from aurelius.inference.llama_model import LlamaModel
from aurelius.inference.sampling import sampling_of
from aurelius.model.hf_folder import LlamaFolder

# Under these names transformers takes tokenizer.json as it is; under others it changes some of it.
TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")


class StockLlama(LlamaModel):
    """See `LanguageModel`; scoring uses stock transformers."""

    def __init__(self, path: Path, device: str = "auto"):
        """Open a folder.

        Raises:
            ModelError: it does not hold a Llama that our engine can run, or a tokenizer of another kind.
            RunError, TokenizerError: a file is missing or damaged.
        """
        own, generation = _read(path / "tokenizer_config.json"), _read(path / "generation_config.json")
        if own.get("tokenizer_class") not in TOKENIZERS:
            raise ModelError(f"{path} has a tokenizer of the kind {own.get('tokenizer_class')}")
        folder = LlamaFolder.read(path)
        tokenizer = folder.tokenizer

        def id_of(name: str) -> int | None:
            token = own.get(f"{name}_token")
            token = token.get("content") if isinstance(token, dict) else token
            if token is not None:
                return tokenizer.token_to_id(token)
            key = f"{name}_token_id"
            number = generation.get(key, folder.config.get(key))
            if isinstance(number, list):
                raise ModelError(f"{path} has several ids as {key}, which only transformers understands")
            return number

        begin, end, unknown = id_of("bos"), id_of("eos"), id_of("unk")
        special = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        prefix = leading(tokenizer.encode("").ids, special, begin, end)
        check_special([*prefix, end, unknown], folder.vocab_size, str(path))

        def load_scorer() -> Scorer:
            from aurelius.inference.transformers_model import TransformersModel

            return TransformersModel(str(path), device)

        super().__init__(
            str(path),
            folder.shape,
            folder.weights,
            tokenizer,
            sampling_of(generation, f"{path}: generation_config.json"),
            prefix=prefix,
            end=end,
            unknown=unknown,
            suppressed=sorted(special - {end}),
            load_scorer=load_scorer,
        )
        self.context = min(self.context, own.get("model_max_length") or self.context)


def _read(file: Path) -> dict[str, Any]:
    """Return a JSON object, or an empty one if there is no such file."""
    value = read_json(file) if file.exists() else {}
    if not isinstance(value, dict):
        raise ModelError(f"{file} is not a JSON object")
    return value


def open_stock_llama(path: Path, device: str) -> "StockLlama | None":
    """Open a folder, or return None if it is not a plain Llama with its own tokenizer."""
    try:
        return StockLlama(path, device)
    except (ModelError, RunError, TokenizerError):
        return None
