"""A run's config: one YAML file, with one typed section per stage."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, ValidationError, model_validator
from yaml import YAMLError

from reweight.benchmark.conditions.protocol import Conditions
from reweight.benchmark.conditions.worlds import POSITION_AS_FEATURE
from reweight.benchmark.detection.protocol import FOREST, ORACLE, Benchmark
from reweight.benchmark.ranking import InMemory
from reweight.build_samples.checks import wrong_open_labels
from reweight.build_samples.features import Features
from reweight.build_samples.named_columns import wrong_columns
from reweight.build_samples.sampling import Sampling
from reweight.build_samples.splits import Splits
from reweight.build_samples.without_times import wrong_times
from reweight.clean_logs.section import Cleaning
from reweight.core.baselines import BASELINE, CONTROL
from reweight.core.config_errors import all_errors, check_quotes
from reweight.core.config_file import meant_instead, override, read_tree
from reweight.core.errors import ConfigError
from reweight.core.job_config import JobConfig
from reweight.core.run import Config, JobRun
from reweight.core.run_folder import RunFolder
from reweight.core.section import WRITTEN, RunId, repeated
from reweight.daily.section import Daily, wrong_for_days
from reweight.evaluate.section import Evaluation
from reweight.explain.section import Explaining
from reweight.importance.base import not_combinable
from reweight.importance.methods import METHODS, Method
from reweight.monitor.section import Monitoring
from reweight.promote.section import Promotion
from reweight.score_weights.policy import Weighting
from reweight.serving.export.section import Exporting
from reweight.simulate_logs.section import Simulation
from reweight.train_ranker.rankers import AnyRanker
from reweight.train_ranker.rankers.base import wrong_recalibration
from reweight.train_ranker.rankers.logistic_regression import LogisticRegression
from reweight.train_ranker.shorthand import SHORTHAND, without_shorthand
from reweight.training.plan import Fitting
from reweight.training.warm_start import WarmStart, wrong_start
from reweight.tune.search import Tuning


class MethodsConfig(JobConfig):
    """The config of a job that uses importance methods.

    Attributes:
        importance: the methods.
    """

    # What a benchmark adds beside the methods, in lower case.
    added: ClassVar[frozenset[str]] = frozenset()
    importance: tuple[Method, ...]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if duplicates := repeated(method.name for method in self.importance):
            raise ValueError(
                f"importance: expected different names for the methods (Spark ignores case), got "
                f"{duplicates} more than once; set `name` on one of them"
            )
        return self

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        if taken := sorted(self.added & {method.name.lower() for method in self.importance}):
            raise ValueError(f"importance: the benchmark adds {taken} itself; set another `name`")
        return self

    @model_validator(mode="after")
    def _baseline_has_its_name(self) -> Self:
        for method in self.importance:
            if method.method == BASELINE and method.name != BASELINE:
                raise ValueError(
                    f"importance: expected the name '{BASELINE}' for the method '{BASELINE}', with "
                    f"which every result is compared, got '{method.name}'; remove its `name`"
                )
        return self

    @model_validator(mode="after")
    def _parts_combine(self) -> Self:
        methods = {method.name: method for method in self.importance}
        reasons = [
            f"'{method.name}' cannot combine '{part}', which {reason}"
            for method in self.importance
            for part in method.combines()
            if (reason := not_combinable(methods.get(part)))
        ]
        if reasons:
            raise ValueError(f"importance: {'; '.join(reasons)}; the run has {sorted(methods)}")
        return self


class RunConfig(MethodsConfig):
    """The config of a run, with its sections in the order of the stages.

    Attributes:
        seed: seed of everything that is random.
        model_run_id: run whose fitted models score this run's samples; None fits new ones.
        warm_start: the earlier run from whose models those of this run start; None starts anew.
        strict: whether a method that is refused is an error. By default it is left out, with the
            reason in the stage's summary and in the report, and the other methods go on.
        rankers: the models that are trained on the weights of each method; the first one decides
            which weights to ship. ``ranking: {C: 0.1}`` is short for
            ``rankers: [{ranker: logistic_regression, C: 0.1}]``.
    """

    elsewhere: ClassVar[Any] = JobConfig.elsewhere | {
        "fitting": Fitting.how,
        "daily": Daily.call,
        # They read what runs have left, and change nothing of it.
        "monitoring": True,
        "promotion": True,
    }

    seed: int = Field(default=0, ge=0, lt=2**31)
    model_run_id: RunId | None = None
    warm_start: WarmStart | None = None
    strict: bool = False
    simulation: Simulation | None = None
    cleaning: Cleaning
    sampling: Sampling
    splits: Splits = Splits()
    features: Features
    fitting: Fitting = Fitting()
    weighting: Weighting = Weighting()
    rankers: tuple[AnyRanker, ...] = (LogisticRegression(),)
    evaluation: Evaluation = Evaluation()
    tuning: Tuning = Tuning()
    explaining: Explaining = Explaining()
    exporting: Exporting = Exporting()
    daily: Daily | None = None
    monitoring: Monitoring = Monitoring()
    promotion: Promotion = Promotion()

    @property
    def model_folder(self) -> RunFolder:
        """The folder of the run whose models score the samples."""
        return RunFolder.of(self.root, self.model_run_id or self.run_id)

    @property
    def statistics_run_id(self) -> str | None:
        """The run whose feature statistics encode the samples; None for statistics of their own."""
        return self.warm_start.run_id if self.warm_start else self.model_run_id

    @property
    def statistics_folder(self) -> RunFolder:
        """The folder of that run."""
        return RunFolder.of(self.root, self.statistics_run_id or self.run_id)

    @model_validator(mode="before")
    @classmethod
    def _with_uniform(cls, data: Any) -> Any:
        # Every result is a difference to `uniform`, so every run needs it.
        return _with_methods(data, BASELINE)

    @model_validator(mode="before")
    @classmethod
    def _ranking_is_short(cls, data: Any) -> Any:
        return without_shorthand(data)

    @model_validator(mode="after")
    def _ranker_names_differ(self) -> Self:
        if not self.rankers:
            raise ValueError(
                "rankers: expected at least one ranker; write [{ranker: logistic_regression}], or "
                "leave the list out"
            )
        if duplicates := repeated(ranker.name for ranker in self.rankers):
            raise ValueError(
                f"rankers: expected different names for the rankers, got {duplicates} more than "
                "once; set `name` on one of them"
            )
        return self

    @model_validator(mode="after")
    def _columns_exist(self) -> Self:
        if wrong := wrong_columns(self.cleaning, self.sampling, self.features):
            raise ValueError("; ".join(wrong))
        return self

    @model_validator(mode="after")
    def _times_exist(self) -> Self:
        sections = (self.cleaning, self.sampling, self.splits, self.features)
        wrong = [*wrong_times(*sections), *wrong_for_days(self.daily, self.model_run_id, *sections)]
        if text := "; ".join(wrong):
            raise ValueError(text)
        return self

    @model_validator(mode="after")
    def _something_starts(self) -> Self:
        if wrong := wrong_start(self.warm_start, self.run_id, self.model_run_id, self.importance):
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _segments_exist(self) -> Self:
        no_segments = self.sampling.segment == Sampling.model_fields["segment"].default
        if no_segments and self.weighting.segment_cap is not None:
            raise ValueError(
                "weighting.segment_cap has no effect without segments; write sampling: "
                "{segment: country}, or another expression"
            )
        return self

    @model_validator(mode="after")
    def _recalibrated_exist(self) -> Self:
        methods = {method.name: method.method for method in self.importance}
        if wrong := wrong_recalibration(self.rankers, methods, METHODS):
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _labels_can_be_open(self) -> Self:
        if wrong := wrong_open_labels(self.sampling, self.splits):
            raise ValueError(wrong)
        return self


class BenchmarkConfig(MethodsConfig):
    """The config of a benchmark of the methods."""

    example: ClassVar[str] = "conf/benchmark/published.yaml"
    added: ClassVar[frozenset[str]] = frozenset({ORACLE, FOREST})

    benchmark: Benchmark

    @model_validator(mode="before")
    @classmethod
    def _with_controls(cls, data: Any) -> Any:
        return _with_methods(data, CONTROL, BASELINE)


class ConditionsConfig(RunConfig):
    """The config of a run on several simulated worlds, whose rankers are judged on the truth."""

    example: ClassVar[str] = "conf/benchmark/conditions.yaml"
    added: ClassVar[frozenset[str]] = frozenset({ORACLE, POSITION_AS_FEATURE})

    conditions: Conditions

    @property
    def in_memory(self) -> list[InMemory]:
        """The rankers of the worlds."""
        return [ranker for ranker in self.rankers if isinstance(ranker, InMemory)]

    @model_validator(mode="after")
    def _ranked_in_memory(self) -> Self:
        kinds = [ranker.ranker for ranker in self.rankers]
        if len(self.in_memory) < len(kinds):
            raise ValueError(
                "rankers: the worlds are ranked in memory, by logistic_regression, lightgbm or "
                f"deep; got {kinds}; write [{{ranker: logistic_regression}}, {{ranker: lightgbm}}]"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _with_worlds(cls, data: Any) -> Any:
        """Takes the simulation's worlds from the section, and adds the world to each segment."""
        if not isinstance(data, dict):
            return data
        try:
            section = Conditions.model_validate(data.get("conditions"))
        except ValidationError:
            # The field's own validation reports the error again, with its full name.
            return data
        simulation, sampling = data.get("simulation"), data.get("sampling")
        if not (isinstance(simulation, dict) and isinstance(sampling, dict)):
            raise ValueError("simulation, sampling: expected both sections")
        worlds = section.simulated(simulation)
        segment = sampling.get("segment", "''")
        return data | {
            "simulation": simulation | {"worlds": worlds},
            "sampling": sampling | {"segment": f"concat(world, '/', coalesce({segment}, ''))"},
        }


def _with_methods(data: Any, *kinds: str) -> Any:
    """Appends missing methods of these kinds; methods in the file keep their positions."""
    if isinstance(data, dict) and isinstance(methods := data.get("importance", []), list):
        present = [m.get("method") for m in methods if isinstance(m, dict)]
        missing = [{"method": kind} for kind in kinds if kind not in present]
        return data | {"importance": [*methods, *missing]}
    return data


# What the stages of each kind of job receive.
Run = JobRun[RunConfig]
BenchmarkRun = JobRun[BenchmarkConfig]
ConditionsRun = JobRun[ConditionsConfig]


def load_config(path: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a run's YAML file and applies overrides; see ``read_config``."""
    return read_config(RunConfig, path, overrides)


def read_config(
    kind: type[Config], source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()
) -> Config:
    """Reads a YAML file, or takes its content, and applies overrides.

    A file can extend another one: with ``base: other.yaml``, a path relative to its own folder,
    keys that it does not set are taken from there. Sections are merged, lists are replaced.

    Args:
        kind: class of the config.
        source: path of the file, or its content.
        overrides: ``dotted.key=value`` in YAML notation; items of lists by number.

    Raises:
        ConfigError: the file is missing, is not YAML, or has invalid values; the error lists all
            invalid values.
    """
    path = "the config" if isinstance(source, Mapping) else str(source)
    if not isinstance(source, Mapping) and not Path(path).is_file():
        raise ConfigError(
            "the config file does not exist",
            expected="the path of a YAML file",
            got=path,
            fix="pass the path of an existing file; the folder conf/ has complete examples",
        )
    try:
        tree = (
            OmegaConf.create(dict(source)) if isinstance(source, Mapping) else read_tree(Path(path))
        )
        for assignment in overrides:
            override(tree, assignment)
        values = OmegaConf.to_container(tree, resolve=True, throw_on_missing=True)
    except (YAMLError, OmegaConfBaseException, TypeError, ValueError, OSError) as error:
        raise ConfigError(
            f"{path} could not be read",
            expected="YAML, with every ${...} defined and every ??? set",
            got=str(error).replace('in "<unicode string>", ', "").strip(),
            fix=meant_instead(error, path),
        ) from error
    check_quotes(values)
    try:
        return kind.model_validate(values, context=WRITTEN)
    except ValidationError as error:
        expected = f"keys and types as in `{kind.example}`"
        moved = SHORTHAND if isinstance(values, dict) and values.get("ranking") else None
        raise all_errors(f"{path} is not a valid config", expected, error, kind, moved) from error
