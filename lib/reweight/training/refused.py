"""The methods that the ranks left out, as a file from which the driver learns of them."""

import json
from collections.abc import Mapping

from reweight.core.errors import ReweightError, TrainingError
from reweight.core.files import write_whole
from reweight.core.run_folder import ModelsFolder


def write_refused(folder: ModelsFolder, errors: Mapping[str, ReweightError]) -> None:
    """Writes the methods and their errors."""
    content = {name: fields_of(error) for name, error in errors.items()}
    write_whole(folder.refused, json.dumps(content).encode())


def read_refused(folder: ModelsFolder) -> dict[str, TrainingError]:
    """The methods that were left out, each with its error; none without the file."""
    path = folder.refused
    content = json.loads(path.read_text()) if path.exists() else {}
    return {name: error_of(fields) for name, fields in content.items()}


def fields_of(error: ReweightError) -> dict[str, str]:
    """The fields of an error, for a file."""
    return {"what": error.what, "expected": error.expected, "got": error.got, "fix": error.fix}


def error_of(fields: Mapping[str, str]) -> TrainingError:
    """The error with these fields."""
    what, expected, got, fix = (fields[name] for name in ("what", "expected", "got", "fix"))
    return TrainingError(what, expected=expected, got=got, fix=fix)
