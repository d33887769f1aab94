"""reweight: learn how much each training sample of a click or purchase log is worth.

In a notebook ``reweight.run("shop.yaml")`` runs the whole line, and
``reweight.load("monday", root="out/shop")`` looks at a run that is over. In a pipeline of Spark ML
``from reweight.ml import SampleWeighter``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reweight.runner.notebook import RunView, load, run

__version__ = "0.1.0"
__all__ = ["RunView", "load", "run"]


def __getattr__(name: str) -> Any:
    """The notebook's names when they are asked for: to import the package starts no Spark."""
    if name in __all__:
        from reweight.runner import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module 'reweight' has no attribute '{name}'")
