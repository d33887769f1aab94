"""Which rows a method suspects of a wrong label."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reweight.importance.base import ImportanceMethod


def trust(method: ImportanceMethod, importance: NDArray[Any]) -> NDArray[Any]:
    """A number that is low for the rows that a method suspects, [N]."""
    # Rows with wrong labels look hard or suspicious.
    return importance if method.polarity == "valuable" else np.negative(importance)
