"""A run's config: one YAML file, one typed section per stage."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, ValidationError, model_validator
from yaml import YAMLError

from reweight.benchmark import Benchmark
from reweight.benchmark.conditions import Conditions
from reweight.benchmark.protocol import BASELINE, ORACLE
from reweight.cleaning import Cleaning
from reweight.errors import ConfigError
from reweight.evaluation import Evaluation
from reweight.explaining import Explaining
from reweight.features import Features
from reweight.fitting import Fitting
from reweight.importance import ImportanceMethod, Method
from reweight.ranking import Ranking
from reweight.sampling import Sampling
from reweight.section import Folder, RunId, SchemaName, Section
from reweight.simulation import Simulation
from reweight.splits import Splits
from reweight.tracking import Tracking
from reweight.tuning import Tuning
from reweight.weighting import Weighting

# What says where and how a run is done and who is told of it, and no result depends on.
ELSEWHERE: Any = {
    **dict.fromkeys(("run_id", "root", "catalog", "spark", "tracking"), True),
    "fitting": Fitting.how,
}
# Keys whose value is a run's name.
_NAMES = {"run_id", "model_run_id"}


class JobConfig(Section):
    """What the config of every job says.

    Attributes:
        run_id: names the run's rows in every table and its folder; one of digits alone is quoted.
        root: folder of the tables and of the runs' folders; on a cluster a shared path, on
            Databricks one of a volume (``/Volumes/...``).
        catalog: ``schema`` or ``catalog.schema`` that has the tables instead of ``root``.
        data_dir: for interpolation (``${data_dir}``).
        spark: Spark settings for a session that the job starts itself.
        tracking: programs that are told of the run.
        importance: the methods.
        example: a file that shows the whole of such a config, for messages.
    """

    example: ClassVar[str] = "conf/demo.yaml"

    run_id: RunId
    root: Folder
    catalog: SchemaName | None = None
    data_dir: str | None = None
    spark: dict[str, str] = {}
    tracking: Tracking = Tracking()
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

    def hash(self) -> str:
        """Hash of the config: equal for runs that compute the same thing."""
        return digest(self.model_dump_json(exclude=ELSEWHERE))

    def kept(self) -> dict[str, Any]:
        """What may be kept of it: Spark settings and addresses of servers can hold their keys."""
        return self.model_dump(mode="json", by_alias=True, exclude={"spark", "tracking"})


class RunConfig(JobConfig):
    """One run, complete: the sections are in the order of the stages.

    Attributes:
        seed: of everything that is random.
        model_run_id: run whose stored models score this run's samples; None trains here.
    """

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

    @model_validator(mode="before")
    @classmethod
    def _with_uniform(cls, data: Any) -> Any:
        # Every result is a difference to `uniform`, so a run without it has no result.
        return _with_methods(data, "uniform")

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


class BenchmarkConfig(JobConfig):
    """A benchmark of the methods."""

    example: ClassVar[str] = "conf/benchmark/published.yaml"

    benchmark: Benchmark

    @model_validator(mode="before")
    @classmethod
    def _with_controls(cls, data: Any) -> Any:
        return _with_methods(data, "random", "uniform")

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        if taken := {ORACLE, BASELINE} & {method.name for method in self.importance}:
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


Config = TypeVar("Config", bound=JobConfig)


def digest(*texts: str) -> str:
    """A short hash of texts: the identity of what they say."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


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
            came=path,
            do="see the folder conf/ for complete examples",
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
            came=str(error).strip(),
            do="mend the file or set the missing value, as data_dir=/data",
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
            expected="key=value, as run_id=today fitting.ranks=2 importance.0.epochs=5",
            came=str(error).strip(),
            do="write the key, '=' and the value, in YAML's notation, without spaces around '='",
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
        came = "" if one["type"] == "missing" else f" (came: {str(one['input'])[:80]!r})"
        lines.append(f"\n    {where}: {one['msg']}{came}")
    return ConfigError(
        what,
        expected=expected,
        came=f"{len(lines)} error(s):" + "".join(lines),
        do="mend each key named above; an unknown key is often a misspelt one",
    )
