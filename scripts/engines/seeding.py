"""Random numbers of an epoch follow from seed and epoch alone, so that a resumed training is the same training."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from scripts.processes import derive_seed, get_process_index


class EpochSeeds:
    """Seeds python, numpy and torch at the start of each epoch, and names the epoch to a dataset that draws numbers.

    Args:
        seed: of the training.
        dataset: one with `set_epoch`, or any other.

    Each process of a run has numbers of its own.
    """

    def __init__(self, seed: int, dataset: Any = None) -> None:
        self.seed, self.dataset = seed, dataset

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        seed = derive_seed(self.seed, get_process_index(), engine.state.epoch)
        random.seed(seed)
        np.random.seed(seed)  # the global state, which libraries draw from
        torch.manual_seed(seed)
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(engine.state.epoch)
