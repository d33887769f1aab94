"""The sequence of the last events before a sample: its columns, and what is known of its shape."""

from reweight.core.section import Section

# Columns of `samples`: the ids of the events, and how long ago they were.
SEQUENCE = ("sequence_ids", "sequence_gaps")
# The gap of an entry without an event; that of an event is above 0.
NO_EVENT = -1.0


class SequenceShape(Section):
    """The shape of the sequences.

    Attributes:
        length: entries of a sequence, L.
        fields: field of an event -> size of its id space.
        shared: field of an event -> the field of ``ids`` that has the same ids, by its place.
    """

    length: int
    fields: dict[str, int]
    shared: dict[str, int] = {}
