"""Weights of the bootstrap: every resample holds as many patients as there are, in blocks that a machine can hold."""

from __future__ import annotations

import numpy as np
import pytest
from scripts import bootstrap
from scripts.errors import InputError


def test_the_first_row_is_all_patients_and_each_other_one_a_sample_of_as_many():
    weights = bootstrap.weigh_groups(7, 50, seed=3)
    assert weights.shape == (51, 7) and (weights[0] == 1).all() and (weights.sum(axis=1) == 7).all()
    assert not (weights[1:] == 1).all() and np.array_equal(weights[1:], bootstrap.sample_weights(7, 50, seed=3))


@pytest.mark.parametrize("block", [1, 20, 24, 10**6])
def test_blocks_hold_the_same_rows_and_no_more_than_asked(block: int, monkeypatch: pytest.MonkeyPatch):
    whole = bootstrap.weigh_groups(7, 10)
    monkeypatch.setattr(bootstrap, "BLOCK", block)
    blocks = list(bootstrap.iterate_weights(7, 10))
    assert np.array_equal(np.concatenate(blocks), whole)
    assert all(each.size <= max(block, 7) for each in blocks)


def test_an_interval_needs_a_resample():
    with pytest.raises(InputError, match="at least one resample"):
        bootstrap.weigh_groups(7, 0)
