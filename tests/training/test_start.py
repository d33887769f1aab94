"""The function that is sent to the ranks."""

import pickle
import subprocess
import sys

from reweight.training.start import start_rank


def test_processes_that_only_pass_the_function_on_do_not_import_torch() -> None:
    code = f"import pickle, sys; pickle.loads({pickle.dumps(start_rank)!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "reweight.training.start" in loaded
    assert not {"torch", "pyspark", "pydantic"} & set(loaded)
