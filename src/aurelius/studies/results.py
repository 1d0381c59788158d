"""What a study found: one small JSON file, from which tables and figures can be drawn again.

Run folders do not outlive a machine, so the file holds what statistics need: each trial's nats on each
document, to a tenth. It is written after every trial; a study goes on from it, here or on another machine.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurelius.errors import CompareError, RunError
from aurelius.evaluation.paired import Difference, between_seeds, difference
from aurelius.files import read_json, write_bytes
from aurelius.studies.definition import Arm, Study, Trial, arms_of

FORMAT = 1
MEASURED = ("measure", "documents", "stories")  # of a study: what the scores depend on


@dataclass(frozen=True)
class Documents:
    """The documents that a study measures on; ``sizes`` are bytes."""

    name: str
    sha256: str
    sizes: list[int]

    @classmethod
    def of(cls, name: str, texts: Sequence[str]) -> "Documents":
        """Describe documents."""
        digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()
        return cls(name, digest, [len(text.encode()) for text in texts])


@dataclass(frozen=True)
class Record:
    """What one trial gave: ``nats`` are those of each document, as the study's measure counts them."""

    arm: str
    seed: int
    changes: dict[str, Any]
    parameters: int
    steps: int
    tokens: int
    seconds: float
    bits_per_byte: float
    bits_per_byte_text: float
    bytes_per_token: float
    device: str
    threads: int
    versions: dict[str, str]
    nats: list[float]
    figures: dict[str, float | None] = field(default_factory=dict)  # of the instruments

    def is_of(self, trial: Trial) -> bool:
        """Whether it is the record of this trial, with the changes that its arm has now."""
        return (self.arm, self.seed, self.changes) == (trial.arm.name, trial.seed, trial.changes)


@dataclass
class Results:
    """The records of a study."""

    study: Study
    documents: Documents | None = None
    records: list[Record] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path, study: Study | None = None) -> "Results":
        """Read the results at ``path``; ``study`` is its definition of today (by default the saved one).

        Raises:
            CompareError: the file is missing, damaged, or of a newer version.
        """
        try:
            value = read_json(path)
            if value["format"] != FORMAT:
                raise CompareError(f"{path} has format {value['format']}; this version reads {FORMAT}")
            saved, documents = Study.of(value["study"], str(path)), value["documents"]
            records = [Record(**record) for record in value["records"]]
        except RunError as error:
            raise CompareError(str(error)) from None
        except (KeyError, TypeError) as error:
            raise CompareError(f"{path} is not the results of a study ({error!r})") from None
        for key in (*MEASURED, *["pairs"] * bool(saved.pairs)) if records and study else ():
            before, now = (_without_folder(getattr(each, key)) for each in (saved, study))
            if before != now:
                raise CompareError(
                    f"{path} was measured with {key} = {before!r}, now it is {now!r}; to start again, move "
                    "the file away"
                )
        return cls(study or saved, Documents(**documents) if documents else None, records)

    def write(self, path: Path) -> None:
        """Write the file: what was studied, then a line per record."""
        head = {
            "format": FORMAT,
            "study": {
                key: _without_folder(value) if key in ("documents", "pairs") else value
                for key, value in self.study.model_dump(exclude_defaults=True).items()
            },
            "documents": asdict(self.documents) if self.documents else None,
        }
        parts = [f'  "{name}": {json.dumps(value, ensure_ascii=False)}' for name, value in head.items()]
        records = ",\n".join(
            f"    {json.dumps(asdict(r), ensure_ascii=False, separators=(',', ':'))}" for r in self.records
        )
        parts.append(f'  "records": [\n{records}\n  ]' if records else '  "records": []')
        write_bytes(path, ("{\n" + ",\n".join(parts) + "\n}\n").encode())

    def measure_on(self, documents: Documents, path: Path) -> None:
        """Set the documents of further trials; ``path`` is the file of these results, for the message.

        Raises:
            CompareError: earlier trials were measured on others.
        """
        if self.records and self.documents and self.documents.sha256 != documents.sha256:
            raise CompareError(
                f"{path} was measured on {len(self.documents.sizes):,} documents of {self.documents.name}, "
                f"which are not the {len(documents.sizes):,} of {documents.name} here; to start again, move "
                "the file away"
            )
        self.documents = documents

    def has(self, trial: Trial) -> bool:
        """Whether a trial is measured, with the changes that its arm has now and all figures of today."""
        wanted = set(self.study.figures)
        return any(record.is_of(trial) and wanted <= record.figures.keys() for record in self.records)

    def add(self, record: Record) -> None:
        """Keep a record, in the place of an earlier one of the same arm and seed."""
        others = [r for r in self.records if (r.arm, r.seed) != (record.arm, record.seed)]
        order = [arm.name for arm in arms_of(self.study)]
        self.records = sorted([*others, record], key=lambda r: (_place(order, r.arm), r.arm, r.seed))

    def of(self, arm: Arm | str) -> dict[int, Record]:
        """Return the records of an arm by seed, in the order of the study's seeds."""
        name = arm if isinstance(arm, str) else arm.name
        found = {record.seed: record for record in self.records if record.arm == name}
        return {seed: found[seed] for seed in self.study.seeds if seed in found}

    def figure(self, record: Record) -> float:
        """Return the figure of a record that the study measures."""
        return getattr(record, self.study.measure)

    @property
    def baseline(self) -> str:
        """The arm that the others are compared with."""
        return self.study.baseline or arms_of(self.study)[0].name

    def figure_difference(self, arm: str, figure: str) -> Difference | None:
        """Compare a figure of an arm with the baseline's over the seeds that both have."""
        ours, theirs = self.of(arm), self.of(self.baseline)
        pairs = [(theirs[s].figures.get(figure), ours[s].figures.get(figure)) for s in ours if s in theirs]
        pairs = [(first, second) for first, second in pairs if first is not None and second is not None]
        return between_seeds(*np.array(pairs).T) if len(pairs) > 1 else None

    def difference(self, arm: str) -> Difference | None:
        """Compare an arm with the baseline over the seeds that both have; None if there are none.

        Raises:
            CompareError: the scores do not belong to the documents.
        """
        ours, theirs = self.of(arm), self.of(self.baseline)
        seeds = [seed for seed in ours if seed in theirs]
        if not seeds or self.documents is None:
            return None
        sizes = np.array(self.documents.sizes, np.float64)
        first, second = (_nats([records[seed] for seed in seeds]) for records in (theirs, ours))
        return difference(first, second, sizes)


def _without_folder(value: Any) -> Any:
    """Return a file's name without its folder, which differs between machines."""
    return PurePath(value).name if isinstance(value, str) else value


def _nats(records: list[Record]) -> NDArray[np.float64]:
    return np.array([record.nats for record in records], np.float64)


def _place(order: list[str], name: str) -> float:
    return order.index(name) if name in order else math.inf
