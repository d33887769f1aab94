"""What tests of the benchmarks share."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """As in the tasks that judge worlds; networks this small are slower on two."""
    torch.set_num_threads(1)
