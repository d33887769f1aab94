"""A run's config: one YAML file, one typed section per stage."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, ValidationError, model_validator
from yaml import YAMLError

from reweight.cleaning import Cleaning
from reweight.errors import ConfigError
from reweight.evaluation import Evaluation
from reweight.features import Features
from reweight.fitting import Fitting
from reweight.importance import Method
from reweight.ranking import Ranking
from reweight.sampling import Sampling
from reweight.section import RunId, Section
from reweight.simulation import Simulation
from reweight.splits import Splits
from reweight.tuning import Tuning
from reweight.weighting import Weighting


class RunConfig(Section):
    """One run, complete: the sections are in the order of the stages.

    Attributes:
        run_id: names the run's rows in every table and its folder.
        root: folder of the tables and of the runs' folders; on a cluster a shared path.
        seed: of everything that is random.
        data_dir: for interpolation in ``cleaning`` (``${data_dir}``).
        spark: Spark settings for a session that the job starts itself.
        model_run_id: run whose stored models score this run's samples; None trains here.
    """

    run_id: RunId
    root: str
    seed: int = Field(default=0, ge=0, lt=2**31)
    data_dir: str | None = None
    spark: dict[str, str] = {}
    model_run_id: RunId | None = None
    simulation: Simulation | None = None
    cleaning: Cleaning
    sampling: Sampling
    splits: Splits = Splits()
    features: Features
    fitting: Fitting = Fitting()
    importance: tuple[Method, ...]
    weighting: Weighting = Weighting()
    ranking: Ranking = Ranking()
    evaluation: Evaluation = Evaluation()
    tuning: Tuning = Tuning()

    @model_validator(mode="before")
    @classmethod
    def _with_uniform(cls, data: Any) -> Any:
        # Every result is a difference to `uniform`, so a run without it has no result.
        if isinstance(data, dict) and isinstance(methods := data.get("importance", []), list):
            kinds = [m.get("method") for m in methods if isinstance(m, dict)]
            if "uniform" not in kinds:
                # At the end: the numbers of the file's own list stay as they are.
                return data | {"importance": [*methods, {"method": "uniform"}]}
        return data

    @model_validator(mode="after")
    def _names_differ(self) -> "RunConfig":
        names = [method.name for method in self.importance]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(
                f"importance: the name(s) {twice} stand for two methods; set `name` on one of them"
            )
        return self

    def hash(self) -> str:
        """Hash of the config: equal for runs that compute the same thing."""
        return digest(self.model_dump_json(exclude={"run_id", "root", "spark"}))


def digest(*texts: str) -> str:
    """A short hash of texts: the identity of what they say."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def load_config(path: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a run's YAML file and puts overrides over it.

    Args:
        path: the file.
        overrides: ``dotted.key=value`` in YAML's notation; list members by number.

    Raises:
        ConfigError: no such file, no YAML, or wrong values; all wrong values are named together.
    """
    if not Path(path).is_file():
        raise ConfigError(
            "the config file is not there",
            expected="the path of a YAML file",
            came=path,
            do="see the folder conf/ for complete examples",
        )
    try:
        tree = OmegaConf.load(path)
        if not isinstance(tree, DictConfig):
            raise TypeError("the file holds no keys")
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
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise _all_errors(path, error) from error


def _override(tree: DictConfig, override: str) -> None:
    """Puts ``key=value`` over the tree, the value in YAML's notation."""
    key, equals, value = override.partition("=")
    try:
        if not equals:
            raise ValueError("it sets nothing")
        # ${...} in a value is for the whole tree to resolve.
        made = OmegaConf.to_container(OmegaConf.create(f"value: {value}"), resolve=False)
        OmegaConf.update(tree, key, made["value"], force_add=True)  # type: ignore[index,call-overload]
    except (YAMLError, OmegaConfBaseException, TypeError, ValueError, LookupError) as error:
        raise ConfigError(
            f"override '{override}' cannot be read",
            expected="key=value, as run_id=today fitting.ranks=2 importance.0.epochs=5",
            came=str(error).strip(),
            do="write the key, '=' and the value, in YAML's notation, without spaces around '='",
        ) from error


def _all_errors(path: str, error: ValidationError) -> ConfigError:
    lines = []
    for one in error.errors(include_url=False):
        where = ".".join(str(part) for part in one["loc"]) or "(whole file)"
        came = "" if one["type"] == "missing" else f" (came: {str(one['input'])[:80]!r})"
        lines.append(f"\n    {where}: {one['msg']}{came}")
    return ConfigError(
        f"{path} is not a valid run",
        expected="the keys and types that `conf/demo.yaml` shows",
        came=f"{len(lines)} error(s):" + "".join(lines),
        do="mend each key named above; an unknown key is often a misspelt one",
    )
