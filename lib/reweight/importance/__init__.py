"""Importance methods. The union below is the only list of them."""

from typing import Annotated

from pydantic import Field

from reweight.importance.aum import Aum
from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.class_balanced import ClassBalanced
from reweight.importance.data_maps import DataMaps
from reweight.importance.data_oob import DataOob
from reweight.importance.data_shapley import DataShapley
from reweight.importance.delayed_feedback import DelayedFeedback
from reweight.importance.density_ratio import DensityRatio
from reweight.importance.doubly_robust import DoublyRobust
from reweight.importance.el2n import El2n
from reweight.importance.focal import Focal
from reweight.importance.forgetting import Forgetting
from reweight.importance.grand import Grand
from reweight.importance.group_dro import GroupDro
from reweight.importance.importance_mlp import ImportanceMlp
from reweight.importance.influence_lr import InfluenceLr
from reweight.importance.ipw_position import IpwPosition
from reweight.importance.jtt import Jtt
from reweight.importance.knn_shapley import KnnShapley
from reweight.importance.loo import Loo
from reweight.importance.lossval import Lossval
from reweight.importance.mature_only import MatureOnly
from reweight.importance.mw_net import MwNet
from reweight.importance.product import Product
from reweight.importance.pu_prior import PuPrior
from reweight.importance.r_ce import RCe
from reweight.importance.rake import Rake
from reweight.importance.random import Random
from reweight.importance.reweighing import Reweighing
from reweight.importance.self_confidence import SelfConfidence
from reweight.importance.self_training import SelfTraining
from reweight.importance.small_loss import SmallLoss
from reweight.importance.t_ce import TCe
from reweight.importance.tracin import TracIn
from reweight.importance.training import TrainFacts
from reweight.importance.uniform import Uniform
from reweight.importance.value_weighted import ValueWeighted

Method = Annotated[
    Uniform
    | Random
    | ClassBalanced
    | ValueWeighted
    | Reweighing
    | Rake
    | ImportanceMlp
    | SelfConfidence
    | Aum
    | DataMaps
    | El2n
    | Focal
    | Forgetting
    | Grand
    | Jtt
    | RCe
    | SmallLoss
    | TCe
    | TracIn
    | DataOob
    | DensityRatio
    | MatureOnly
    | DelayedFeedback
    | SelfTraining
    | IpwPosition
    | DoublyRobust
    | PuPrior
    | MwNet
    | GroupDro
    | InfluenceLr
    | KnnShapley
    | Loo
    | DataShapley
    | Lossval
    | Product,
    Field(discriminator="method"),
]

__all__ = ["ImportanceMethod", "ImportanceModel", "Method", "TrainFacts", "Uniform"]
