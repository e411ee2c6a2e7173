"""Grad-CAM and Grad-CAM++ of a study class on the encoder's last map, by MONAI."""

from __future__ import annotations

import torch
from monai.networks import eval_mode
from monai.visualize import GradCAM, GradCAMpp, ModelWithHooks
from torch import nn

#: By the name that the config has for them.
METHODS: dict[str, type[GradCAM]] = {"grad_cam": GradCAM, "grad_cam++": GradCAMpp}

#: And as people write them.
TITLES: dict[str, str] = {"grad_cam": "Grad-CAM", "grad_cam++": "Grad-CAM++"}


def compute_maps(
    network: nn.Module, pictures: torch.Tensor, classes: torch.Tensor, method: str = "grad_cam"
) -> torch.Tensor:
    """Compute class activation maps of the encoder's last map, at the images' size; raw values, at least 0.

    The network is left as it was: its mode, its hooks, and no gradients.

    Args:
        network: with an `encoder` (B, C, H, W) -> (B, F, h, w), and logits under "study".
        pictures: (B, C, H, W).
        classes: number of the class to explain of each picture, (B,).
        method: a key of `METHODS`.

    Returns:
        (B, 1, H, W); a map of zeros where nothing speaks for the class.

    Source: Selvaraju et al. 2017, arXiv:1610.02391; Chattopadhyay et al. 2018, arXiv:1710.11063.
    """
    with eval_mode(network), torch.enable_grad():
        hooked = _ScoreOfEachPicture(_StudyLogits(network).eval(), "map", register_forward=True, register_backward=True)
        # MONAI's own postprocessing turns a map upside down and hides its zero: fractions of energy need both
        explain = METHODS[method](hooked, "map", postprocessing=nn.Identity())  # type: ignore[arg-type]
        maps = explain(pictures, class_idx=classes.to(pictures.device))
    network.zero_grad()
    return maps.detach()


class _StudyLogits(nn.Module):
    """The network as MONAI's tools want it: a tensor of logits (B, N), and a module `map` to put their hooks on.

    Gradients end at the map: what lies below it is not asked for, and costs no backward pass.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.map = network, nn.Identity()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        handle = self.network.encoder.register_forward_hook(self._take_map)  # type: ignore[union-attr]
        try:
            return self.network(image)["study"]
        finally:
            handle.remove()

    def _take_map(self, encoder: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        return self.map(output.detach().requires_grad_())


class _ScoreOfEachPicture(ModelWithHooks):
    """Each picture is explained by its own class; MONAI's scores mix the classes of a batch, and suit one picture."""

    def class_score(self, logits: torch.Tensor, class_idx: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return logits.gather(1, class_idx[:, None])[..., None, None]  # as Grad-CAM++ multiplies it with a map
