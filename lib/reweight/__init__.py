"""reweight: learn how much each training sample of a click or purchase log is worth.

In a notebook, ``reweight.run("shop.yaml")`` runs the whole pipeline, and
``reweight.load("monday", root="out/shop")`` opens a finished run. In a Spark ML pipeline, use
``from reweight.spark_ml import SampleWeighter``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reweight.runner.notebook import RunView, load, run

__version__ = "0.1.0"
__all__ = ["RunView", "load", "run"]


def __getattr__(name: str) -> Any:
    """Imports the notebook's names on first use, so that importing the package stays cheap."""
    if name in __all__:
        from reweight.runner import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module 'reweight' has no attribute '{name}'")
