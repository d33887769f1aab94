"""Sizes of the layers of an ensemble, and whether it fits into memory."""

from itertools import pairwise

from reweight.core.errors import TrainingError
from reweight.importance.encoding import Encoding
from reweight.importance.sequence_networks import Network, sequence_size
from reweight.importance.training import TrainFacts

MAX_PARAMETERS = 1 << 28  # 1 GiB of float32, without gradients and moments


def check_size(
    facts: TrainFacts,
    members: int,
    hidden: tuple[int, ...],
    embedding: int,
    encoding: Encoding | None,
    network: Network = "mlp",
    sequence_width: int = 0,
) -> tuple[int, ...]:
    """The widths of the layers, input and output included.

    Raises:
        TrainingError: more parameters than can be held in memory and sent to executors, or a
            network over sequences on rows that have none.
    """
    dim = encoding.width if encoding else facts.dim
    read, parameters = sequence_size(network, facts.sequence, embedding, sequence_width)
    sizes = (dim + embedding * len(facts.cardinalities) + read, *hidden, 1)
    layers = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
    size = layers + embedding * sum(facts.cardinalities) + parameters
    if members * size > MAX_PARAMETERS:
        raise TrainingError(
            "the ensemble is too large to hold in memory and send to executors",
            expected=f"at most {MAX_PARAMETERS / 2**20:.0f}M parameters "
            f"({MAX_PARAMETERS * 4 / 2**30:.0f} GiB): {MAX_PARAMETERS // size} members of this "
            "shape",
            got=f"{members} members x {size} parameters = {members * size / 2**20:.0f}M",
            fix="lower members, hidden or embedding",
        )
    return sizes
