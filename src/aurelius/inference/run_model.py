"""A model trained here, with the tokenizer of its run."""

from pathlib import Path

from tokenizers import Tokenizer

from aurelius.config.recipe import Recipe
from aurelius.errors import ModelError
from aurelius.inference.language_model import Scorer, check_special
from aurelius.inference.llama_model import LlamaModel
from aurelius.model.checkpoint_folder import MODEL, newest_checkpoint
from aurelius.model.hf_folder import check_weights, read_weights
from aurelius.model.weight_names import weight_shapes
from aurelius.run_paths import RunPaths
from aurelius.special_tokens import SpecialTokens
from aurelius.tokenizer.load import load


class RunModel(LlamaModel):
    """The newest checkpoint of a run; scoring uses our own PyTorch model."""

    def __init__(self, run: Path, device: str = "auto"):
        """Open a run folder.

        Raises:
            ModelError: nothing is trained yet, or the weights are damaged.
            RunError, RecipeError, TokenizerError: another file of the run is missing or damaged.
        """
        recipe, paths = Recipe.load(run), RunPaths(run)
        checkpoint = newest_checkpoint(paths.training)
        file, vocab_size = checkpoint / MODEL, recipe.tokenizer.vocab_size
        weights = read_weights(file)
        check_weights(file, weights, weight_shapes(recipe.model, vocab_size), "the recipe")
        tokenizer = load(paths.tokenizer_file)
        if (size := tokenizer.get_vocab_size()) != vocab_size:
            raise ModelError(f"{paths.tokenizer_file} has {size} tokens, the model {vocab_size}")
        special = SpecialTokens.read(paths.tokenizer)
        check_special([*special.prefix, special.end, special.unknown], vocab_size, str(paths.tokenizer))

        def load_scorer() -> Scorer:
            from aurelius import device as devices
            from aurelius.inference.torch_scorer import TorchScorer
            from aurelius.model.checkpoint_folder import load_model

            return TorchScorer(load_model(recipe, checkpoint, devices.pick(device)))

        super().__init__(
            f"{run.resolve().name}, {checkpoint.name}",
            recipe.model,
            weights,
            tokenizer,
            recipe.generation,
            prefix=special.prefix,
            end=special.end,
            unknown=special.unknown,
            suppressed=sorted({*special.prefix, *_special(tokenizer)} - {special.end}),
            load_scorer=load_scorer,
        )


def _special(tokenizer: Tokenizer) -> list[int]:
    """Return the ids of the tokens that are no text."""
    return [i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special]
