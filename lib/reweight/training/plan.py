"""What a training is: the section ``fitting``, and all that a rank needs as plain values."""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from reweight.core.run_folder import ModelsFolder
from reweight.core.section import Seconds, Section
from reweight.importance.methods import Method
from reweight.importance.training import TrainFacts
from reweight.training.readers import Reading


class Fitting(Section):
    """The section ``fitting``.

    Attributes:
        ranks: training processes, one Spark task each.
        shards: into how many parts the rows are dealt; a multiple of ``ranks``. The result depends
            on it, and not on ``ranks``.
        batch_size: rows of a step, over all ranks.
        validation_rows: how many rows of the validation split the loss curve is measured on.
        feed: what reads the training rows, ``petastorm`` or ``arrow``, which give the same batches;
            ``auto`` is Petastorm where it is installed and can take the path of ``root``.
        use_gpu: one GPU per rank.
        timeout: longest time in which no rank gets on before the training is ended.
        retries: how often a training that a lost or hanging rank ended is taken up again.
    """

    # How it is trained: no result depends on these.
    how: ClassVar[set[str]] = {"ranks", "feed", "use_gpu", "timeout", "retries"}

    ranks: int = Field(default=1, ge=1)
    shards: int = Field(default=4, ge=1)
    batch_size: int = Field(default=1024, ge=1)
    validation_rows: int = Field(default=20_000, ge=1)
    feed: Reading = "auto"
    use_gpu: bool = False
    timeout: Seconds = 600
    retries: int = Field(default=2, ge=0)

    @model_validator(mode="after")
    def _ranks_share_evenly(self) -> Self:
        if self.shards % self.ranks:
            raise ValueError(
                "the ranks cannot share the shards evenly: expected a multiple of ranks; "
                f"got shards={self.shards}, ranks={self.ranks}"
            )
        return self

    def identity(self) -> str:
        """What of the section the result depends on."""
        return self.model_dump_json(exclude=self.how)


class FitPlan(Section):
    """All that a rank needs, as plain values.

    Attributes:
        methods: to train.
        facts: of the training rows.
        extra: further columns of the snapshots.
        fitting: the section.
        train: folder of the snapshot.
        validation: folder of the snapshot for the loss curve.
        folder: for checkpoints, progress and errors; every rank sees it.
        key: identity of rows, settings and code: a checkpoint of another key is not taken up.
        seed: of the order of rows.
    """

    methods: tuple[Method, ...]
    facts: TrainFacts
    extra: tuple[str, ...] = ()
    fitting: Fitting
    train: str
    validation: str
    folder: str
    key: str
    seed: int

    @property
    def models(self) -> ModelsFolder:
        """``folder``, with the names of what is in it."""
        return ModelsFolder(Path(self.folder))
