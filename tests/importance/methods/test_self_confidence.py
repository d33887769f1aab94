"""Self-confidence: p(given label) by members that did not see the row."""

import torch
from sklearn.metrics import roc_auc_score
from union import facts_of, planted

from reweight.importance.artifact import Scorer
from reweight.importance.batch import Batch
from reweight.importance.methods.importance_mlp import ImportanceMlp
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.training.in_memory import fit_in_memory

TRAINING = {"members": 8, "hidden": (16,), "epochs": 10, "learning_rate": 0.01, "embedding": 2}
CONFIDENCE = SelfConfidence.model_validate({"training": TRAINING})
MARGIN = SelfConfidence.model_validate({"name": "margin", "margin": True, "training": TRAINING})


def scores(train: Batch, *methods: SelfConfidence | ImportanceMlp) -> dict[str, torch.Tensor]:
    facts, validation = facts_of(train), planted(50, seed=1)[0]
    return Scorer(fit_in_memory(methods, facts, train, validation, batch_size=64)[0])(train)


def test_confidence_is_a_probability_and_the_margin_is_the_same_on_another_scale() -> None:
    found = scores(planted()[0], CONFIDENCE, MARGIN)
    confidence = found["self_confidence"]
    assert ((confidence > 0) & (confidence < 1)).all()
    torch.testing.assert_close(found["margin"], 2 * confidence - 1, rtol=1e-5, atol=1e-6)


def test_wrong_labels_are_found_that_a_method_blind_to_labels_does_not_find() -> None:
    train, flipped = planted(flips=0.2)
    blind = ImportanceMlp.model_validate(
        {"training": {"hidden": (16,), "epochs": 10, "learning_rate": 0.01}}
    )
    found = scores(train, CONFIDENCE, blind)
    auroc = {name: 1 - roc_auc_score(flipped.numpy(), own.numpy()) for name, own in found.items()}
    assert auroc["self_confidence"] > 0.95
    assert 0.3 < auroc[blind.name] < 0.7


def test_labels_that_mean_nothing_are_not_believed_by_members_that_did_not_see_them() -> None:
    # In sample, a network of this size would come to believe random labels.
    train, _ = planted(200)
    coins = (torch.rand(200, generator=torch.Generator().manual_seed(7)) < 0.5).float()
    noise = Batch(train.sample_id, train.features, train.ids, coins)
    keen = TRAINING | {"epochs": 60, "hidden": (64,)}
    settings = {"training": keen, "keep": {"which": "last"}}
    unseen = SelfConfidence.model_validate(settings)
    seen = SelfConfidence.model_validate(
        {"name": "seen", "training": keen | {"membership": "all"}, "keep": {"which": "last"}}
    )
    found = scores(noise, unseen, seen)
    assert found["seen"].mean() > 0.65
    assert abs(found["self_confidence"].mean().item() - 0.5) < 0.05
