"""Targets as torchvision's losses take them.

Rule: what is no object - padding, a box without area - is left out, so that an image may have none and counts as a negative.
"""

from torch import Tensor

from trainer.detectors import Targets


def listed(targets: Targets, first_label: int = 0) -> list[dict[str, Tensor]]:
    """Of each image the boxes (G, 4), the labels (G,), counted from `first_label`, and the masks (G, H, W) bool, where there are any."""
    real = targets.valid & (targets.boxes[..., 2:] > targets.boxes[..., :2]).all(-1)
    return [_image(targets, image, at, first_label) for image, at in enumerate(real)]


def _image(targets: Targets, image: int, real: Tensor, first_label: int) -> dict[str, Tensor]:
    found = {"boxes": targets.boxes[image][real].float(), "labels": targets.labels[image][real] + first_label}
    return found if targets.masks is None else found | {"masks": targets.masks[image][real]}
