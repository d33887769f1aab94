"""Networks that read the last events before a row: convolutions, and a gated recurrent unit.

An event is its embedded fields and how long ago it was. What a network makes of the events is put
beside the features and the embedded ids, before the first hidden layer. Entries without an event
change nothing, whatever they hold. All members compute together, as in the ensemble.

`cnn`: two layers of convolutions over three neighbouring events (LeCun et al. 1989; over sequences
Kim 2014), then of each channel the largest value, and the value at the newest event.

`gru`: Cho et al. 2014, in the form that torch computes: the state after the newest event.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from reweight.core.errors import TrainingError
from reweight.core.sequences import SequenceShape
from reweight.importance.batch import Sequences
from reweight.importance.embedding_tables import EmbeddingTables, Places

Network = Literal["mlp", "cnn", "gru"]

_KERNEL = 3
# log(1 + seconds) of a year: gaps become numbers from 0 to about 1.
_YEAR = math.log1p(365 * 86400)
# Events that all members together hold in memory at a time.
_EVENTS = 1 << 18


class SequenceNetwork(nn.Module, ABC):
    """M networks of the same shape over sequences.

    Args:
        shape: of the sequences.
        members: M.
        embedding: width of the embedding of each field.
        width: of a layer, H.
        generator: draws the first parameters.
    """

    outputs: ClassVar[int]

    def __init__(
        self,
        shape: SequenceShape,
        members: int,
        embedding: int,
        width: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.shape, self.members, self.width = shape, members, width
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for n_in, n_out in self.layers(_channels(shape, embedding), width):
            bound = 1 / math.sqrt(self.fan(n_in, width))
            weight = torch.rand((members, n_in, n_out), generator=generator)
            bias = torch.rand((members, 1, n_out), generator=generator)
            self.weights.append(nn.Parameter((2 * weight - 1) * bound))
            self.biases.append(nn.Parameter((2 * bias - 1) * bound))
        unshared = [name for name in shape.fields if name not in shape.shared]
        self.tables = EmbeddingTables.drawn(
            [shape.fields[name] for name in unshared],
            [Places(None, (list(shape.fields).index(name),)) for name in unshared],
            (members, embedding),
            generator,
        )

    @staticmethod
    @abstractmethod
    def layers(channels: int, width: int) -> list[tuple[int, int]]:
        """Inputs and outputs of each layer."""

    @staticmethod
    def fan(n_in: int, width: int) -> int:
        """First parameters are uniform up to 1 / sqrt(fan)."""
        return n_in

    @abstractmethod
    def read(self, events: Tensor, known: Tensor) -> Tensor:
        """What the members make of the events, float32 [M, B, outputs H].

        Args:
            events: float32 [M, B, L, channels].
            known: which entries are events, bool [B, L]; there are no events after the first that
                is none.
        """

    def forward(self, sequence: Sequences, shared: Sequence[Tensor]) -> Tensor:
        """What the members make of the sequences, float32 [M, B, outputs H].

        Args:
            sequence: of B rows.
            shared: the embeddings of the fields of ``ids``, float32 [M, size, width].
        """
        # A step is there even if no row has an event, so that every parameter has a gradient.
        longest = max(1, int((sequence.gaps >= 0).any(0).sum()))
        rows = max(1, _EVENTS // (self.members * longest))
        parts = zip(torch.split(sequence.ids, rows), torch.split(sequence.gaps, rows), strict=True)
        return torch.cat(
            [self._part(ids[:, :longest], gaps[:, :longest], shared) for ids, gaps in parts], dim=1
        )

    def _part(self, ids: Tensor, gaps: Tensor, shared: Sequence[Tensor]) -> Tensor:
        is_event, unshared = gaps >= 0, iter(self.tables)
        places = [self.shape.shared.get(name) for name in self.shape.fields]
        tables = [next(unshared) if place is None else shared[place] for place in places]
        age = (gaps / _YEAR)[None, :, :, None].expand(self.members, -1, -1, -1)
        events = torch.cat([*[_looked_up(t, ids[..., f]) for f, t in enumerate(tables)], age], -1)
        return self.read(torch.where(is_event[None, :, :, None], events, 0.0), is_event)


class Convolutions(SequenceNetwork):
    """`cnn`."""

    outputs: ClassVar[int] = 2

    @staticmethod
    def layers(channels: int, width: int) -> list[tuple[int, int]]:
        """Two layers over ``_KERNEL`` events each."""
        return [(_KERNEL * channels, width), (_KERNEL * width, width)]

    def read(self, events: Tensor, known: Tensor) -> Tensor:
        """The largest value of each channel, and that at the newest event; 0 without events."""
        x, mask = events, known[None, :, :, None]
        for weight, bias in zip(self.weights, self.biases, strict=True):
            padded = functional.pad(x, (0, 0, 1, 1))
            near = torch.cat([padded[:, :, k : k + x.shape[2]] for k in range(_KERNEL)], dim=-1)
            convolved = torch.baddbmm(bias, near.flatten(1, 2), weight)
            # After ReLU nothing is below 0, so that 0 stands for no event.
            x = torch.where(mask, convolved.relu().view(*x.shape[:3], self.width), 0.0)
        last = (known.sum(1) - 1).clamp(min=0)
        newest = x[:, torch.arange(x.shape[1], device=x.device), last]
        return torch.cat([x.amax(2), newest], dim=-1)


class Recurrence(SequenceNetwork):
    """`gru`."""

    outputs: ClassVar[int] = 1

    @staticmethod
    def layers(channels: int, width: int) -> list[tuple[int, int]]:
        """From the event and from the state, to reset gate, update gate and candidate."""
        return [(channels, 3 * width), (width, 3 * width)]

    @staticmethod
    def fan(n_in: int, width: int) -> int:
        """As torch has it, the width for both."""
        return width

    def read(self, events: Tensor, known: Tensor) -> Tensor:
        """The state after the newest event; 0 without events."""
        members, rows, length, _ = events.shape
        inputs = torch.baddbmm(self.biases[0], events.flatten(1, 2), self.weights[0])
        inputs = inputs.view(members, rows, length, 3 * self.width)
        state = inputs.new_zeros((members, rows, self.width))
        for step in range(length):
            x = inputs[:, :, step].chunk(3, dim=-1)
            h = torch.baddbmm(self.biases[1], state, self.weights[1]).chunk(3, dim=-1)
            reset, update = (x[0] + h[0]).sigmoid(), (x[1] + h[1]).sigmoid()
            candidate = (x[2] + reset * h[2]).tanh()
            after = candidate + update * (state - candidate)
            state = torch.where(known[None, :, step, None], after, state)
        return state


_NETWORKS: dict[str, type[SequenceNetwork]] = {"cnn": Convolutions, "gru": Recurrence}


def sequence_network(
    network: Network,
    shape: SequenceShape | None,
    members: int,
    embedding: int,
    width: int,
    generator: torch.Generator,
) -> SequenceNetwork | None:
    """The part of the members that reads sequences; None for ``mlp``."""
    if network == "mlp":
        return None
    assert shape is not None  # as `sequence_size` checks
    return _NETWORKS[network](shape, members, embedding, width, generator)


def sequence_size(
    network: Network, shape: SequenceShape | None, embedding: int, width: int
) -> tuple[int, int]:
    """Outputs and parameters of the part of one member that reads sequences.

    Raises:
        TrainingError: there are no sequences to read.
    """
    if network == "mlp":
        return 0, 0
    if shape is None:
        raise TrainingError(
            f"network: {network} has nothing to read",
            expected="rows with a sequence of earlier events",
            got="rows without features.sequence",
            fix="write features: {sequence: {keys: [COLUMN], fields: {NAME: {value: COLUMN}}}}, or "
            "network: mlp",
        )
    kind = _NETWORKS[network]
    layers = kind.layers(_channels(shape, embedding), width)
    unshared_ids = sum(size for name, size in shape.fields.items() if name not in shape.shared)
    parameters = sum((n_in + 1) * n_out for n_in, n_out in layers) + embedding * unshared_ids
    return kind.outputs * width, parameters


def _channels(shape: SequenceShape, embedding: int) -> int:
    """Numbers of an event: its embedded fields and its age."""
    return embedding * len(shape.fields) + 1


def _looked_up(table: Tensor, ids: Tensor) -> Tensor:
    """Rows of the tables of all members: [M, size, width] and [B, L] -> [M, B, L, width]."""
    members, size, _ = table.shape
    first = size * torch.arange(members, device=ids.device)[:, None, None]
    # The gradient of an embedding is added up faster than that of an index.
    return functional.embedding(ids[None] + first, table.flatten(0, 1))
