"""A Hugging Face folder with a plain Llama, such as an export of ours."""

from pathlib import Path

from aurelius.errors import ModelError, RunError, TokenizerError
from aurelius.files import read_json
from aurelius.inference.language_model import check_special
from aurelius.inference.llama_model import LlamaModel, Scorer
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
        own = read_json(path / "tokenizer_config.json")
        if own.get("tokenizer_class") not in TOKENIZERS:
            raise ModelError(f"{path} has a tokenizer of the kind {own.get('tokenizer_class')}")
        folder = LlamaFolder.read(path)
        tokenizer = folder.tokenizer

        def id_of(name: str) -> int | None:
            token = own.get(f"{name}_token")
            token = token.get("content") if isinstance(token, dict) else token
            return None if token is None else tokenizer.token_to_id(token)

        begin, end, unknown = id_of("bos"), id_of("eos"), id_of("unk")
        special = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        prefix = [i for i in tokenizer.encode("").ids if i in special and i != end]
        if not prefix:  # the closest that such a model has to a beginning
            prefix = [i for i in (begin, end) if i is not None][:1]
        check_special([*prefix, end, unknown], folder.vocab_size, str(path))
        file = path / "generation_config.json"

        def load_scorer() -> Scorer:
            from aurelius.inference.transformers_model import TransformersModel

            return TransformersModel(str(path), device).logits

        super().__init__(
            str(path),
            folder.shape,
            folder.weights,
            tokenizer,
            sampling_of(read_json(file) if file.exists() else {}, f"{path}: {file.name}"),
            prefix=prefix,
            end=end,
            unknown=unknown,
            suppressed=sorted(special - {end}),
            load_scorer=load_scorer,
        )
        self.context = min(self.context, own.get("model_max_length") or self.context)


def open_stock_llama(path: Path, device: str) -> "StockLlama | None":
    """Open a folder, or return None if it is not a plain Llama with its own tokenizer."""
    try:
        return StockLlama(path, device)
    except (ModelError, RunError, TokenizerError):
        return None
