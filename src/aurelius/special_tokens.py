"""The ids that every tokenizer trained here starts with, and what other tokenizers have in their place."""

from dataclasses import asdict, dataclass
from pathlib import Path

from aurelius.errors import RunError
from aurelius.files import read_json, write_json

SPECIAL_TOKENS = ("<s>", "</s>", "<unk>", "<sink>")
BOS, EOS, UNK, SINK = range(4)
BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))  # ids 4 to 259
IGNORE_INDEX = -100  # a target that is not learned, as in PyTorch's cross_entropy
FILE = "special.json"


@dataclass(frozen=True)
class SpecialTokens:
    """The ids that begin and end a story, that lead every block and prompt, and that stand for unknowns.

    A tokenizer from elsewhere has no ``<sink>``; its begin token leads instead. With ``lead`` None nothing
    does: the begin token of a story has position 0.
    """

    begin: int = BOS
    end: int = EOS
    lead: int | None = SINK
    unknown: int | None = UNK

    @property
    def prefix(self) -> list[int]:
        """The ids before every text, as at inference."""
        return [self.begin] if self.lead in (None, self.begin) else [self.lead, self.begin]

    @property
    def never_target(self) -> int:
        """The id that is only ever an input; -1, no id, if the end of a story also begins the next."""
        return -1 if self.begin == self.end else self.begin

    @classmethod
    def read(cls, folder: Path) -> "SpecialTokens":
        """Read what `write` wrote; if there is nothing, return the ids of our own tokenizers.

        Raises:
            RunError: the file is damaged.
        """
        if not (folder / FILE).exists():
            return cls()
        try:
            return cls(**read_json(folder / FILE))
        except TypeError as error:
            raise RunError(f"{folder / FILE} is damaged: {error}") from None

    def write(self, folder: Path) -> None:
        """Write ``special.json`` into a tokenizer or token folder."""
        write_json(folder / FILE, asdict(self))


OURS = SpecialTokens()  # of the tokenizers trained here
PREFIXES = {  # by name in a recipe: what every text begins with
    "sink": OURS,
    "begin": SpecialTokens(lead=None),
    "end": SpecialTokens(begin=EOS, lead=None),  # the end of a story begins the next, as in GPT-2
}
