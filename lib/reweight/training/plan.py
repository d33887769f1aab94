"""The plan of a training: the section ``fitting``, and everything that a rank needs."""

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from reweight.core.run_folder import ModelsFolder
from reweight.core.section import Seconds, Section
from reweight.importance.methods import Trainable
from reweight.importance.training import TrainFacts
from reweight.training.readers import Reading
from reweight.training.warm_start import StartFolder, StartingModels


class Fitting(Section):
    """The section ``fitting``.

    Attributes:
        where: ``executors``, where each rank is a barrier task, or ``driver``, where one process
            trains on the same batches: for clusters without barrier tasks, and up to 4 GiB of rows.
            ``auto`` is the driver for a single rank without a GPU, if Spark runs in the driver's
            process (``local[...]``) and the rows are few enough: this starts faster.
        ranks: number of training processes, one Spark task each.
        shards: number of shards among which the rows are dealt; a multiple of ``ranks``. The result
            depends on it, but not on ``ranks``.
        batch_size: rows per step, over all ranks.
        validation_rows: number of validation rows on which the loss curve is measured.
        feed: reader of the training rows, ``petastorm`` or ``arrow``, which yield the same batches;
            ``auto`` is Petastorm if it is installed and accepts the path of ``root``.
        use_gpu: whether each rank uses a GPU.
        timeout: how long no rank may make progress before the training is stopped.
        retries: how often a training is resumed after a rank was lost or hung.
    """

    # Settings of the execution: no result depends on them.
    how: ClassVar[set[str]] = {"where", "ranks", "feed", "use_gpu", "timeout", "retries"}

    where: Literal["auto", "executors", "driver"] = "auto"
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
                "the ranks cannot share the shards evenly: expected shards to be a multiple of "
                f"ranks; got shards={self.shards}, ranks={self.ranks}"
            )
        return self

    @model_validator(mode="after")
    def _one_on_the_driver(self) -> Self:
        if self.where == "driver" and self.ranks > 1:
            raise ValueError(
                "the driver trains in one process: expected ranks: 1 with where: driver; "
                f"got ranks={self.ranks}"
            )
        return self

    def identity(self) -> str:
        """The settings that the result depends on, as JSON."""
        return self.model_dump_json(exclude=self.how)


class FitPlan(Section):
    """Everything that a rank needs, as plain values.

    Attributes:
        methods: what to fit.
        facts: of the training rows.
        extra: additional columns of the snapshots.
        fitting: the section ``fitting``.
        train: folder of the snapshot of training rows.
        validation: folder of the snapshot for the loss curve.
        folder: for checkpoints, progress and errors; visible to every rank.
        key: identity of rows, settings and code; a checkpoint with another key is ignored.
        seed: of the order of rows.
        strict: whether a method that cannot be trained stops the others.
        start: the fitted models that the trainings start from; None for new ones.
    """

    methods: tuple[Trainable, ...]
    facts: TrainFacts
    extra: tuple[str, ...] = ()
    fitting: Fitting
    train: str
    validation: str
    folder: str
    key: str
    seed: int
    strict: bool = True
    start: StartFolder | None = None

    def starting_models(self) -> StartingModels | None:
        """Reads the models that the trainings start from; None for new ones."""
        if self.start is None:
            return None
        return self.start.read(self.methods, self.facts, Path(self.train))

    @property
    def models(self) -> ModelsFolder:
        """``folder``, with the names of its contents."""
        return ModelsFolder(Path(self.folder))
