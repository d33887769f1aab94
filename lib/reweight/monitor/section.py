"""The config section of the stage monitor."""

from pydantic import Field

from reweight.core.asked_days import AskedDays
from reweight.core.section import RunId


class Monitoring(AskedDays):
    """The section ``monitoring``.

    A limit of null raises no alarm. Limits of the stability indices, the label rate and the two
    AUCs are widened by what chance alone makes of so few rows.

    Attributes:
        reference: run whose training split the days are compared with; by default that of the
            models, ``model_run_id``, or this run.
        day: the day to look at (``--day``). By default all days of the run.
        begin: the first of several (``--from``).
        end: the last of several (``--to``).
        bins: number of quantiles of the reference that a stability index is computed over.
        volume: largest factor by which a day may have more or fewer samples than a mean day of the
            reference, or a source more or fewer raw rows than on a median day of the 28 before.
        label_rate: largest relative change of the label rate of rows whose windows have closed.
        open_windows: largest share of rows whose label windows are open.
        psi_features: largest population stability index of a feature. Features that follow the
            time by themselves, of the calendar and of histories, are shown without a limit.
        domain_auc: largest AUC of a classifier that tells a day's rows from those of the reference.
        psi_importance: largest stability index of a method's importance.
        psi_weights: largest stability index of a method's weights.
        ess_share: smallest share of the reference's ESS share that a method's weights may have.
        ranker_auc: largest fall of the AUC of the reference's ranker, trained with uniform weights,
            on rows whose windows have closed, from that on the reference's test rows.
        json_line: whether one line of JSON is printed at the end; ``--json`` on the command line.
    """

    reference: RunId | None = None
    bins: int = Field(default=10, ge=2, le=100)
    volume: float | None = Field(default=3.0, gt=1)
    label_rate: float | None = Field(default=0.3, gt=0)
    open_windows: float | None = Field(default=None, ge=0, le=1)
    psi_features: float | None = Field(default=0.2, gt=0)
    domain_auc: float | None = Field(default=0.7, ge=0.5, lt=1)
    psi_importance: float | None = Field(default=0.2, gt=0)
    psi_weights: float | None = Field(default=0.2, gt=0)
    ess_share: float | None = Field(default=0.5, gt=0, le=1)
    ranker_auc: float | None = Field(default=0.05, gt=0, lt=0.5)
    json_line: bool = False
