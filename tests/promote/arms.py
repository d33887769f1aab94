"""Predictions of validation rows by several arms, one less noisy than another."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import expit


def arms(seed: int, noises: Mapping[str, float], groups: int = 150, rows: int = 5) -> pd.DataFrame:
    """Rows whose groups have tastes, predicted by each arm with so much noise.

    All arms have one noise: they differ by how much of it they have.

    Args:
        seed: of the rows and the noise.
        noises: arm -> standard deviation of its noise, in log odds.
        groups: number of groups.
        rows: number of rows of each.
    """
    draw = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), rows)
    taste, x, noise = draw.normal(size=groups)[group], *draw.normal(size=(2, len(group)))
    label = (draw.random(len(group)) < expit(x + taste - 1)).astype(float)
    frame = pd.DataFrame({"sample_id": np.arange(len(group)), "group_id": group.astype(str)})
    frame = frame.assign(split="validation", segment=None, label=label)
    return pd.concat(
        frame.assign(method=arm, probability=expit(0.6 * (x - 1 + share * noise)))
        for arm, share in noises.items()
    )
