"""The ids that every tokenizer trained here begins with, and what other tokenizers have in their place."""

from dataclasses import asdict, dataclass
from pathlib import Path

from aurelius.errors import RunError
from aurelius.files import read_json, write_json

SPECIAL_TOKENS = ("<s>", "</s>", "<unk>", "<sink>")
BOS, EOS, UNK, SINK = range(4)
BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))  # ids 4 to 259
IGNORED = -100  # a target that is not learned; PyTorch's cross_entropy skips it
FILE = "special.json"


@dataclass(frozen=True)
class Special:
    """The ids that are no text: what begins and ends a story, and what leads every block and prompt.

    A tokenizer from elsewhere has no ``<sink>``; its begin token leads.
    """

    begin: int = BOS
    end: int = EOS
    lead: int = SINK
    unknown: int | None = UNK

    @property
    def prefix(self) -> list[int]:
        """The ids before every text, as at inference."""
        return [self.begin] if self.lead == self.begin else [self.lead, self.begin]

    @property
    def given(self) -> int:
        """The id that is no target; -1, none, where a story's end is the next one's beginning."""
        return -1 if self.begin == self.end else self.begin

    @classmethod
    def read(cls, folder: Path) -> "Special":
        """Read what `write` wrote; our own tokenizers' where there is nothing.

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


OURS = Special()  # of the tokenizers trained here
