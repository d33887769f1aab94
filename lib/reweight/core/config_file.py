"""Config files: YAML with a base and references, and values that override it."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    GrammarParseError,
    InterpolationKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
)
from yaml import YAMLError

from reweight.core.errors import ConfigError
from reweight.core.yaml_text import meant, parsed

# Keys whose value is the name of a run.
_RUN_KEYS = {"run_id", "model_run_id"}


def meant_instead(error: Exception, path: str) -> str:
    """What to write instead."""
    if isinstance(error, InterpolationKeyError | InterpolationResolutionError | GrammarParseError):
        return (
            "set the key, such as data_dir=/data; write $NAME for a variable of the environment "
            "(in paths), and \\${1} for a text that has ${1}"
        )
    if isinstance(error, FileNotFoundError) and str(error.filename) != path:
        return "correct `base`, a path that begins in the folder of the file that has it"
    file = Path(path)
    line = (
        meant(error, file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else None
    )
    return line or "correct the file or set the missing value, such as data_dir=/data"


def read_tree(path: Path, bases: tuple[Path, ...] = ()) -> DictConfig:
    """The keys of a file, merged over those of its base."""
    content = parsed(path.read_text(encoding="utf-8"))
    tree = OmegaConf.create({} if content is None else content)
    if not isinstance(tree, DictConfig):
        raise TypeError(f"{path} contains no keys")
    if "base" not in tree:
        return tree
    base = (path.parent / str(tree.pop("base"))).resolve()
    if base in bases:
        raise ValueError(f"{base} is its own base")
    merged = OmegaConf.merge(read_tree(base, (*bases, base)), tree)
    assert isinstance(merged, DictConfig)
    return merged


def override(tree: DictConfig, assignment: str) -> None:
    """Sets ``key=value`` in the tree, the value in YAML notation."""
    key, equals, value = assignment.partition("=")
    try:
        if not equals:
            raise ValueError("no '='")
        # ${...} in a value is resolved later, with the whole tree.
        content = parsed(f"value: {value}")["value"]
        if key in _RUN_KEYS and isinstance(content, float):
            content = value  # 1e5 names a run too.
        OmegaConf.update(tree, key, content, force_add=True)
    except (YAMLError, OmegaConfBaseException, TypeError, ValueError, LookupError) as error:
        # What was read does not fit what the file has there.
        misplaced = isinstance(error, OmegaConfBaseException | LookupError)
        raise ConfigError(
            f"override '{assignment}' cannot be read",
            expected="key=value, such as run_id=today or importance.1.training.epochs=5",
            got=str(error).strip(),
            fix="write a section as {key: value}, a list as [value, value], and an item of a list "
            "by its number, from 0 on"
            if misplaced
            else "write the key, '=' and the value in YAML notation, without spaces around '='",
        ) from error
