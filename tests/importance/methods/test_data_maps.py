"""Confidence is low where labels are wrong, variability high between the blobs."""

import numpy as np
import pytest
from blobs import QUICK, TRAINING, Said, built, planted, rows_of, scores
from sklearn.metrics import roc_auc_score

from reweight.importance.methods.data_maps import DataMaps
from reweight.importance.training import Checkpoints

CONFIDENCE = DataMaps(training=TRAINING)
VARIABILITY = DataMaps(training=TRAINING, statistic="variability")


def test_confidence_is_the_mean_and_variability_the_sd_over_epochs() -> None:
    batch = rows_of()
    said = Said.of(built(CONFIDENCE), batch)
    by_epoch = said.mean(said.given)
    found = scores(built(CONFIDENCE), batch), scores(built(VARIABILITY), batch)
    assert found[0] == pytest.approx(np.mean(by_epoch, axis=0), rel=1e-5)
    assert found[1] == pytest.approx(np.std(by_epoch, axis=0), rel=1e-4)


def test_one_epoch_has_no_variability() -> None:
    assert not scores(built(VARIABILITY, (3,)), rows_of()).any()


def test_a_run_may_have_both_and_each_says_what_it_means() -> None:
    assert (CONFIDENCE.name, CONFIDENCE.polarity) == ("data_maps_confidence", "valuable")
    assert (VARIABILITY.name, VARIABILITY.polarity) == ("data_maps_variability", "hard")


def test_variability_has_its_own_epochs_unless_the_config_says_which() -> None:
    losses = {epoch: abs(epoch - 12.0) for epoch in range(1, 21)}
    assert CONFIDENCE.checkpoint_choice().epochs(20, losses) == tuple(range(2, 21, 2))
    assert VARIABILITY.checkpoint_choice().epochs(20, losses) == tuple(range(7, 17))
    early = Checkpoints(which="early", count=3)
    assert DataMaps(statistic="variability", keep=early).checkpoint_choice() == early


def test_wrong_labels_have_low_confidence_and_rows_between_the_blobs_vary() -> None:
    training = QUICK.model_copy(update={"epochs": 30, "learning_rate": 0.01})
    both = [DataMaps(training=training, statistic=s) for s in ("confidence", "variability")]
    found = planted(*both)
    assert found.auroc("data_maps_confidence") < 0.02
    right, varies = ~found.flipped, found.scores["data_maps_variability"]
    assert roc_auc_score(found.between[right], varies[right]) > 0.85
