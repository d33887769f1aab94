"""What is sent to the ranks: torch is imported in the process that trains, and in none above it.

A Spark task starts torchrun, which starts the rank; both would import torch before they start the
next one, if the function that they pass on needed it.
"""


def start_rank(plan_json: str) -> None:
    """Runs ``train_rank`` of ``reweight.training.rank``.

    Args:
        plan_json: the `FitPlan` as JSON.
    """
    from reweight.training.rank import train_rank

    train_rank(plan_json)
