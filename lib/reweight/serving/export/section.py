"""The config section of the stage export."""

from typing import Literal

from reweight.core.section import Name, Section


class Exporting(Section):
    """The section ``exporting``.

    Attributes:
        methods: the methods to export, of which none may be refused; None for all that have weights
            and convert.
        onnx: whether scorers are also written as ONNX, where they convert; needs the extra
            ``onnx``.
        rows: whether the samples are also written as Parquet with their weights, for other
            trainers (LightGBM, scikit-learn, TorchEasyRec).
        groups: also writes one weight for each group, as the ranking objectives of XGBoost take
            it: ``mean`` of the weights of the group's rows, or ``equal``, which refuses groups
            whose rows differ in weight. None writes no groups.
    """

    methods: tuple[Name, ...] | None = None
    onnx: bool = False
    rows: bool = False
    groups: Literal["mean", "equal"] | None = None
