"""Losses that the 17th-place solution [4] tried in place of cross entropy, for hard or soft labels."""

from __future__ import annotations

import torch
from monai.losses import FocalLoss
from torch import nn
from torch.nn import functional


def smooth_labels(targets: torch.Tensor, num_classes: int, smoothing: float = 0.0) -> torch.Tensor:
    """Smooth class indices (B,), or probabilities (B, C): `smoothing` is dealt out to all classes alike.

    Source: Szegedy et al. 2016, arXiv:1512.00567, section 7; as `torch.nn.CrossEntropyLoss` does it.
    """
    probabilities = functional.one_hot(targets, num_classes).float() if targets.ndim == 1 else targets
    return probabilities * (1 - smoothing) + smoothing / num_classes


class StudyFocalLoss(nn.Module):
    """MONAI's focal loss on the softmax: images that are classified well already count little.

    Summed over the classes, as cross entropy is, which it equals at `gamma` 0: so the mask loss keeps its weight.
    MONAI's own mean over images and classes is a quarter of it.

    Args:
        gamma: how little; the paper's 2.
        label_smoothing: as for cross entropy.

    Shape:
        logits (B, C), targets (B,) class indices or (B, C) probabilities -> scalar.

    Source: Lin et al. 2017, arXiv:1708.02002.
    """

    def __init__(self, gamma: float = 2.0, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.focal = FocalLoss(use_softmax=True, gamma=gamma, reduction="none")
        self.label_smoothing = label_smoothing

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        probabilities = smooth_labels(targets, logits.shape[1], self.label_smoothing)
        return self.focal(logits, probabilities).sum(dim=1).mean()


class BiTemperedLoss(nn.Module):
    """Bi-tempered logistic loss: bounded, and with a heavy tail, so that a wrong label pulls less.

    Args:
        t1: temperature of the logarithm, from 0 to 1; below 1 an image's loss is bounded.
        t2: temperature of the softmax, from 1 on; above 1 its tail is heavy. Both 1: cross entropy.
        label_smoothing: as for cross entropy.
        iterations: of the search for the softmax's normalisation.

    Shape:
        logits (B, C), targets (B,) class indices or (B, C) probabilities -> scalar.

    Source: Amid et al. 2019, arXiv:1906.03361.
    """

    def __init__(self, t1: float = 0.8, t2: float = 1.4, label_smoothing: float = 0.0, iterations: int = 5) -> None:
        super().__init__()
        if not 0 <= t1 <= 1 <= t2:
            raise ValueError(f"expected temperatures 0 <= t1 <= 1 <= t2, got t1 {t1}, t2 {t2}")
        self.t1, self.t2 = t1, t2
        self.label_smoothing, self.iterations = label_smoothing, iterations

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        probabilities = smooth_labels(targets, logits.shape[1], self.label_smoothing).to(logits.dtype)
        found = temper_softmax(logits, self.t2, self.iterations)
        power = 2 - self.t1
        divergence = probabilities * (_log(probabilities, self.t1) - _log(found, self.t1))
        return (divergence - (probabilities.pow(power) - found.pow(power)) / power).sum(dim=1).mean()


def temper_softmax(logits: torch.Tensor, temperature: float, iterations: int = 5) -> torch.Tensor:
    """Softmax (B, C) of a temperature from 1 on, whose tail falls as a power above 1 (Amid et al. 2019, appendix A).

    The gradient is that of the equation which fixes the normalisation, not that of the search for it: the normalisation
    moves with the mean of the logits' moves under the escort distribution, the probabilities to the power of the
    temperature.
    """
    with torch.no_grad():
        top = logits.amax(dim=1, keepdim=True)
        scaled = logits - top
        for _ in range(iterations):
            total = _exp(scaled, temperature).sum(dim=1, keepdim=True)
            scaled = (logits - top) * total.pow(1 - temperature)
        total = _exp(scaled, temperature).sum(dim=1, keepdim=True)
        normalisation = top - _log(1 / total, temperature)
        escort = _exp(logits - normalisation, temperature).pow(temperature)
        escort = escort / escort.sum(dim=1, keepdim=True)
    normalisation = normalisation + (escort * (logits - logits.detach())).sum(dim=1, keepdim=True)
    return _exp(logits - normalisation, temperature)


def _log(probabilities: torch.Tensor, temperature: float) -> torch.Tensor:
    probabilities = probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny)
    return probabilities.log() if temperature == 1 else (probabilities.pow(1 - temperature) - 1) / (1 - temperature)


def _exp(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    if temperature == 1:
        return logits.exp()
    return (1 + (1 - temperature) * logits).clamp_min(0).pow(1 / (1 - temperature))
