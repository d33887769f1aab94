"""Names of methods never meet those of columns and files beside theirs."""

import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from reweight.core import tables
from reweight.core.run_folder import ModelsFolder
from reweight.core.section import MethodName
from reweight.importance.methods import METHODS

_NAME: TypeAdapter[str] = TypeAdapter(MethodName)


def beside() -> set[str]:
    """Columns of the tables that hold rows of methods, and what lies beside their folders."""
    held = (tables.SAMPLES, tables.WEIGHTS, tables.PREDICTIONS)
    columns = {
        c for t in held for c in re.findall(r"(\w+) \w+", (t.schema or "").replace(",", " ,"))
    }
    columns -= {"not", "string", "double", "bigint", "float", "int", "boolean", "timestamp"}
    folder = ModelsFolder(Path("models"))
    return columns | {folder.errors.name, folder.heartbeats.name}


def test_what_a_method_is_called_is_the_name_of_nothing_else() -> None:
    assert {"label", "split", "features", "probability", "errors"} <= beside()
    for name in (*beside(), "Segment", "VECTOR", "rows", "_raw"):
        with pytest.raises(ValidationError, match="is reserved"):
            _NAME.validate_python(name)


def test_the_methods_have_names_that_are_free() -> None:
    assert len(METHODS) > 30
    for name in METHODS:
        assert _NAME.validate_python(name) == name
