"""A run's config: one YAML file, one typed section per stage."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, ValidationError, model_validator
from yaml import YAMLError

from reweight.benchmark.conditions.protocol import Conditions
from reweight.benchmark.detection.protocol import FOREST, ORACLE, Benchmark
from reweight.build_samples.features import Features
from reweight.build_samples.sampling import Sampling
from reweight.build_samples.splits import Splits
from reweight.clean_logs.section import Cleaning
from reweight.core.baselines import BASELINE, CONTROL
from reweight.core.errors import ConfigError
from reweight.core.job_config import JobConfig
from reweight.core.run import Config, JobRun
from reweight.core.run_folder import RunFolder
from reweight.core.section import RunId
from reweight.evaluate.statistics import Evaluation
from reweight.explain.section import Explaining
from reweight.importance.base import ImportanceMethod
from reweight.importance.methods import Method
from reweight.score_weights.policy import Weighting
from reweight.simulate_logs.simulation import Simulation
from reweight.train_ranker.rankers.logistic_regression import Ranking
from reweight.training.plan import Fitting
from reweight.tune.search import Tuning

# Keys whose value is a run's name.
_NAMES = {"run_id", "model_run_id"}


class MethodsConfig(JobConfig):
    """A job over importance methods.

    Attributes:
        importance: the methods.
    """

    importance: tuple[Method, ...]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [method.name for method in self.importance]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(
                f"importance: the name(s) {twice} stand for two methods; set `name` on one of them"
            )
        return self

    @model_validator(mode="after")
    def _baseline_has_its_name(self) -> Self:
        for method in self.importance:
            if method.method == BASELINE and method.name != BASELINE:
                raise ValueError(
                    f"importance: expected the name '{BASELINE}' for the method '{BASELINE}', which "
                    f"every result is a difference to; got '{method.name}'; leave its `name` out"
                )
        return self

    @model_validator(mode="after")
    def _parts_combine(self) -> Self:
        methods = {method.name: method for method in self.importance}
        faults = [
            f"'{method.name}' cannot combine '{part}', which {fault}"
            for method in self.importance
            for part in method.combines()
            if (fault := _fault_of_part(methods.get(part)))
        ]
        if faults:
            raise ValueError(f"importance: {'; '.join(faults)}; the run has {sorted(methods)}")
        return self


class RunConfig(MethodsConfig):
    """One run, complete: the sections are in the order of the stages.

    Attributes:
        seed: of everything that is random.
        model_run_id: run whose stored models score this run's samples; None trains here.
    """

    elsewhere: ClassVar[Any] = JobConfig.elsewhere | {"fitting": Fitting.how}

    seed: int = Field(default=0, ge=0, lt=2**31)
    model_run_id: RunId | None = None
    simulation: Simulation | None = None
    cleaning: Cleaning
    sampling: Sampling
    splits: Splits = Splits()
    features: Features
    fitting: Fitting = Fitting()
    weighting: Weighting = Weighting()
    ranking: Ranking = Ranking()
    evaluation: Evaluation = Evaluation()
    tuning: Tuning = Tuning()
    explaining: Explaining = Explaining()

    @property
    def model_folder(self) -> RunFolder:
        """The folder of the run whose models score the samples."""
        return RunFolder.of(self.root, self.model_run_id or self.run_id)

    @model_validator(mode="before")
    @classmethod
    def _with_uniform(cls, data: Any) -> Any:
        # Every result is a difference to `uniform`, so a run without it has no result.
        return _with_methods(data, BASELINE)

    @model_validator(mode="after")
    def _labels_can_be_open(self) -> Self:
        if self.splits.open_windows == "train" and not self.sampling.label.window:
            raise ValueError(
                "splits.open_windows: labels have no window that could be open at the cut; set "
                "sampling.label.window, or leave open_windows at gap"
            )
        if self.splits.unlabelled == "train" and not self.sampling.label.value:
            raise ValueError(
                "splits.unlabelled: labels that are events are never null; set "
                "sampling.label.value, or leave unlabelled at immature"
            )
        return self


class BenchmarkConfig(MethodsConfig):
    """A benchmark of the methods."""

    example: ClassVar[str] = "conf/benchmark/published.yaml"

    benchmark: Benchmark

    @model_validator(mode="before")
    @classmethod
    def _with_controls(cls, data: Any) -> Any:
        return _with_methods(data, CONTROL, BASELINE)

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        if taken := {ORACLE, FOREST} & {method.name for method in self.importance}:
            raise ValueError(f"importance: the benchmark itself brings {sorted(taken)}")
        return self


class ConditionsConfig(RunConfig):
    """A run on worlds side by side, whose rankers are judged on the truth."""

    example: ClassVar[str] = "conf/benchmark/conditions.yaml"

    conditions: Conditions

    @model_validator(mode="before")
    @classmethod
    def _with_worlds(cls, data: Any) -> Any:
        """The simulation's worlds are those of the section; a segment tells its world."""
        if not isinstance(data, dict):
            return data
        try:
            section = Conditions.model_validate(data.get("conditions"))
        except ValidationError:
            # Told again of the field itself, under its own name.
            return data
        simulation, sampling = data.get("simulation"), data.get("sampling")
        if not (isinstance(simulation, dict) and isinstance(sampling, dict)):
            raise ValueError("simulation, sampling: expected both sections")
        worlds = {name: section.worlds[c] for name, (c, _) in section.names().items()}
        segment = sampling.get("segment", "''")
        return data | {
            "simulation": simulation | {"worlds": worlds},
            "sampling": sampling | {"segment": f"concat(world, '/', coalesce({segment}, ''))"},
        }


def _fault_of_part(method: ImportanceMethod | None) -> str | None:
    """Why other methods cannot be made of this one's importance."""
    if method is None:
        return "is not in the run"
    if method.combines():
        return "is itself made of others"
    if method.signed:
        return "has importance below 0"
    if method.soft:
        return "says labels that it would lose"
    if method.polarity != "valuable":
        return f"is high for {method.polarity} rows and not for valuable ones"
    return None


def _with_methods(data: Any, *kinds: str) -> Any:
    """The methods of these kinds too, at the end: the file's own keep their numbers."""
    if isinstance(data, dict) and isinstance(methods := data.get("importance", []), list):
        there = [m.get("method") for m in methods if isinstance(m, dict)]
        more = [{"method": kind} for kind in kinds if kind not in there]
        return data | {"importance": [*methods, *more]}
    return data


# What the stages of each kind of job are given.
Run = JobRun[RunConfig]
BenchmarkRun = JobRun[BenchmarkConfig]
ConditionsRun = JobRun[ConditionsConfig]


def load_config(path: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a run's YAML file and puts overrides over it; as ``read_config``."""
    return read_config(RunConfig, path, overrides)


def read_config(
    kind: type[Config], source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()
) -> Config:
    """Reads a YAML file, or takes its content, and puts overrides over it.

    A file may say in what it differs from another: with ``base: other.yaml``, a path from its own
    folder, what it does not say is as there. Sections are merged, lists replaced.

    Args:
        kind: of the config.
        source: path of the file, or what it would hold.
        overrides: ``dotted.key=value`` in YAML's notation; list members by number.

    Raises:
        ConfigError: no such file, no YAML, or wrong values; all wrong values are named together.
    """
    given = isinstance(source, Mapping)
    path = "the config" if given else str(source)
    if not given and not Path(path).is_file():
        raise ConfigError(
            "the config file is not there",
            expected="the path of a YAML file",
            got=path,
            fix="see the folder conf/ for complete examples",
        )
    try:
        tree = OmegaConf.create(dict(source)) if isinstance(source, Mapping) else _read(Path(path))
        for override in overrides:
            _override(tree, override)
        values = OmegaConf.to_container(tree, resolve=True, throw_on_missing=True)
    except (YAMLError, OmegaConfBaseException, TypeError, ValueError, OSError) as error:
        raise ConfigError(
            f"{path} could not be read",
            expected="YAML, with every ${...} defined and every ??? set",
            got=str(error).strip(),
            fix="mend the file or set the missing value, as data_dir=/data",
        ) from error
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        shown = f"the keys and types that `{kind.example}` shows"
        raise all_errors(f"{path} is not a valid run", shown, error) from error


def _read(path: Path, above: tuple[Path, ...] = ()) -> DictConfig:
    """The keys of a file over those of its base."""
    tree = OmegaConf.load(path)
    if not isinstance(tree, DictConfig):
        raise TypeError(f"{path} holds no keys")
    if "base" not in tree:
        return tree
    base = (path.parent / str(tree.pop("base"))).resolve()
    if base in above:
        raise ValueError(f"{base} is its own base")
    merged = OmegaConf.merge(_read(base, (*above, base)), tree)
    assert isinstance(merged, DictConfig)
    return merged


def _override(tree: DictConfig, override: str) -> None:
    """Puts ``key=value`` over the tree, the value in YAML's notation."""
    key, equals, value = override.partition("=")
    try:
        if not equals:
            raise ValueError("it sets nothing")
        # ${...} in a value is for the whole tree to resolve.
        read = OmegaConf.to_container(OmegaConf.create(f"value: {value}"), resolve=False)
        made = read["value"]  # type: ignore[index,call-overload]
        if key in _NAMES and isinstance(made, int | float):
            made = value  # The date that names a run is no number, whatever YAML makes of it.
        OmegaConf.update(tree, key, made, force_add=True)
    except (YAMLError, OmegaConfBaseException, TypeError, ValueError, LookupError) as error:
        raise ConfigError(
            f"override '{override}' cannot be read",
            expected="key=value, as run_id=today fitting.ranks=2 importance.0.training.epochs=5",
            got=str(error).strip(),
            fix="write the key, '=' and the value, in YAML's notation, without spaces around '='",
        ) from error


def all_errors(what: str, expected: str, error: ValidationError) -> ConfigError:
    """Everything that is wrong with some values, in one message.

    Args:
        what: one line that names the values.
        expected: what would have been right.
        error: of pydantic.
    """
    lines = []
    for one in error.errors(include_url=False):
        where = ".".join(str(part) for part in one["loc"]) or "(as a whole)"
        got = "" if one["type"] == "missing" else f" (got: {str(one['input'])[:80]!r})"
        lines.append(f"\n    {where}: {one['msg']}{got}")
    return ConfigError(
        what,
        expected=expected,
        got=f"{len(lines)} error(s):" + "".join(lines),
        fix="mend each key named above; an unknown key is often a misspelt one",
    )
