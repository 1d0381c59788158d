"""The optimizers' settings, each with its own default learning rates; their code is in `training.optim`.

To add an optimizer NAME: its settings here, registered in `OptimizerSettings`, and a module
``training/optim/NAME.py`` with a ``build`` function.
"""

from typing import Literal, get_args

from pydantic import Field

from aurelius.config.settings import Section


class MuonSettings(Section):
    """The optimizer: Muon for the matrices of the layers, AdamW for the embedding and the norms."""

    name: Literal["muon"] = Field(default="muon", description="muon or adamw; each has settings of its own")
    learning_rate: float = Field(default=0.02, gt=0, description="peak learning rate of Muon, for matrices")
    momentum: float = Field(default=0.95, ge=0, lt=1, description="Muon's momentum")
    adamw_learning_rate: float = Field(
        default=0.008, gt=0, description="peak learning rate of AdamW, for the embedding and the norms"
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's decay of the first moment")
    beta2: float = Field(default=0.98, ge=0, lt=1, description="AdamW's decay of the second moment")
    weight_decay: float = Field(
        default=0.1, ge=0, description="decoupled weight decay of matrices (norms do not decay)"
    )


class AdamWSettings(Section):
    """The optimizer: AdamW for all parameters."""

    name: Literal["adamw"] = Field(default="adamw", description="muon or adamw; each has settings of its own")
    learning_rate: float = Field(default=0.002, gt=0, description="peak learning rate")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="decay of the first moment")
    beta2: float = Field(default=0.98, ge=0, lt=1, description="decay of the second moment")
    weight_decay: float = Field(
        default=0.1, ge=0, description="decoupled weight decay of matrices (norms do not decay)"
    )


OptimizerSettings = MuonSettings | AdamWSettings  # to register one, add it here
OPTIMIZERS: dict[str, type[Section]] = {
    section.model_fields["name"].default: section for section in get_args(OptimizerSettings)
}
DEFAULT = MuonSettings()
