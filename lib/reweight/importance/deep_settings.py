"""The settings of the ranker `deep`, apart from its network: reading them needs no torch."""

from pydantic import Field

from reweight.core.section import Section, Widths


class DeepSettings(Section):
    """The network of the ranker `deep`, and how it is trained.

    Attributes:
        epochs: the most passes over the training rows.
        patience: epochs without a lower validation loss after which training ends. The parameters
            of the best epoch are used.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        embedding: width of the embedding of each categorical id.
        cross: number of cross layers; 0 for none.
        hidden: widths of the hidden layers of the MLP beside them; empty for none.
    """

    epochs: int = Field(default=20, ge=1)
    patience: int = Field(default=3, ge=1)
    learning_rate: float = Field(default=0.003, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    embedding: int = Field(default=8, ge=1)
    cross: int = Field(default=2, ge=0)
    hidden: Widths = (64, 32)


def weight_column(method: str) -> str:
    """Name of the column with a method's weights in the rows that the network is trained on."""
    return f"weight_{method}"


def label_column(method: str) -> str:
    """Name of the column with a method's soft labels there."""
    return f"label_{method}"
