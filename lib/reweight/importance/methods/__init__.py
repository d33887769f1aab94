"""The importance methods, one file each. The union below is the only list of them."""

from typing import Annotated, get_args

from pydantic import Field

from reweight.importance.cross_network import DeepNetwork
from reweight.importance.methods.aum import Aum
from reweight.importance.methods.class_balanced import ClassBalanced
from reweight.importance.methods.data_maps import DataMaps
from reweight.importance.methods.data_oob import DataOob
from reweight.importance.methods.data_shapley import DataShapley
from reweight.importance.methods.delayed_feedback import DelayedFeedback
from reweight.importance.methods.density_ratio import DensityRatio
from reweight.importance.methods.doubly_robust import DoublyRobust
from reweight.importance.methods.el2n import El2n
from reweight.importance.methods.focal import Focal
from reweight.importance.methods.forgetting import Forgetting
from reweight.importance.methods.grand import Grand
from reweight.importance.methods.group_dro import GroupDro
from reweight.importance.methods.importance_mlp import ImportanceMlp
from reweight.importance.methods.influence_lr import InfluenceLr
from reweight.importance.methods.ipw_position import IpwPosition
from reweight.importance.methods.jtt import Jtt
from reweight.importance.methods.knn_shapley import KnnShapley
from reweight.importance.methods.loo import Loo
from reweight.importance.methods.lossval import Lossval
from reweight.importance.methods.mature_only import MatureOnly
from reweight.importance.methods.mw_net import MwNet
from reweight.importance.methods.product import Product
from reweight.importance.methods.pu_prior import PuPrior
from reweight.importance.methods.r_ce import RCe
from reweight.importance.methods.rake import Rake
from reweight.importance.methods.random import Random
from reweight.importance.methods.reweighing import Reweighing
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.methods.self_training import SelfTraining
from reweight.importance.methods.small_loss import SmallLoss
from reweight.importance.methods.t_ce import TCe
from reweight.importance.methods.tracin import TracIn
from reweight.importance.methods.uniform import Uniform
from reweight.importance.methods.value_weighted import ValueWeighted

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

# What ranks can train: the methods of a config, and the network of the ranker `deep`.
Trainable = Annotated[Method | DeepNetwork, Field(discriminator="method")]

# Names of the methods.
METHODS = tuple(str(kind.model_fields["method"].default) for kind in get_args(get_args(Method)[0]))

__all__ = ["METHODS", "Method", "Trainable"]
