"""Importance methods. The union below is the only list of them."""

from typing import Annotated

from pydantic import Field

from reweight.importance.base import ImportanceMethod, ImportanceModel, TrainFacts
from reweight.importance.class_balanced import ClassBalanced
from reweight.importance.importance_mlp import ImportanceMlp
from reweight.importance.random import Random
from reweight.importance.uniform import Uniform

Method = Annotated[
    Uniform | Random | ClassBalanced | ImportanceMlp,
    Field(discriminator="method"),
]

__all__ = ["ImportanceMethod", "ImportanceModel", "Method", "TrainFacts", "Uniform"]
