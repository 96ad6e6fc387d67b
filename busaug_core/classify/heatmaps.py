"""Where a classifier looks: maps of its predicted classes by Grad-CAM (Selvaraju et al. 2017), kept as small pictures.

The maps are of the last layer whose output lies on a grid of more than one cell and decides the classes. Where the
classes are linear in such a layer's mean over space, as in ResNets and in a probe on EfficientNet-Lite0's features,
Grad-CAM is the class activation map (Zhou et al. 2016), whose sum is the logit less what is the same for all images.
"""

from collections.abc import Sequence
from itertools import islice
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate

from busaug_core.classify.config import heatmap_file
from busaug_core.classify.load import Trained
from busaug_core.errors import UserError
from busaug_core.files import write_whole
from busaug_core.jobs.events import Progress, Steps
from busaug_core.jobs.run import Run
from busaug_core.parallel import in_order
from busaug_core.records import Record

SIDE = 128
"""Side of a picture in pixels; a layer has 4 to 16 cells a side, between which it is interpolated."""
CPU_BATCH = 8
"""Images that a CPU takes at a time; with more, most layers would fetch their memory anew from the system."""


class GradCam:
    """Grad-CAM before its ReLU, in the layer that it chooses; nothing of the classifier is changed.

    Attributes:
        layer: the layer's name in the classifier's network
    """

    def __init__(self, model: Trained, example: np.ndarray):
        """`example`: an image as the classifier loads it, by which the layer is chosen.

        Raises UserError where no layer of the network has a map that decides the classes.
        """
        self.model = model
        if model.network is not None:
            names = {module: name for name, module in model.network.named_modules()}
            # Weights that differ by class, since the logits of a probe add up to what is the same for all images.
            weights = torch.arange(1.0, 1 + len(model.classes))
            for layer in reversed(self._layers_with_maps(example)):
                _, gradient = self._look(layer, [example], weights)
                if gradient is not None and gradient.any():
                    self._layer, self.layer = layer, names[layer]
                    return
        raise UserError(
            "This classifier decides by no layer that gives a map of an image, so there are no heat maps; apply it "
            "without heatmaps, or train one at a larger resolution or of another arch, such as resnet18."
        )

    def __call__(self, images: Sequence[np.ndarray], classes: np.ndarray) -> np.ndarray:
        """Maps, float32 N×h×w, of N images as the classifier loads them, of a class each, int N; negative: against it.

        Σₖ αₖ Aₖ with αₖ the mean over space of the derivative of the class's logit by the layer's output Aₖ (eq. 1 and
        2 without the ReLU).
        """
        wanted = torch.eye(len(self.model.classes))[torch.from_numpy(classes)]
        output, gradient = self._look(self._layer, images, wanted)
        return (gradient.mean((2, 3), keepdim=True) * output).sum(1).cpu().numpy()

    def _layers_with_maps(self, example: np.ndarray) -> list[nn.Module]:
        """In the order in which they answer."""
        found: list[nn.Module] = []

        def note(module: nn.Module, _args: tuple, output: object) -> None:
            if _as_map(module, output) is not None:
                found.append(module)

        hooks = [module.register_forward_hook(note) for module in self.model.network.modules()]
        try:
            with torch.no_grad():
                self.model.scores([example])
        finally:
            for hook in hooks:
                hook.remove()
        return found

    def _look(self, layer: nn.Module, images: Sequence[np.ndarray], weights: Tensor) -> tuple[Tensor, Tensor | None]:
        """A layer's map, float N×D×h×w, and the derivative by it of the logits' weighted sum, None where there is none.

        What comes before the layer is computed without a graph, which is about as fast as a prediction.
        """
        kept: list[Tensor] = []

        def cut(_module: nn.Module, _args: tuple, output: Tensor) -> Tensor:
            torch.set_grad_enabled(True)
            # A copy, since DenseNet applies its last ReLU in place: what it leaves here is what it decides by.
            kept.append(output.detach().requires_grad_().clone())
            return kept[-1]

        hook = layer.register_forward_hook(cut)
        try:
            with torch.no_grad():  # until the layer's hook
                logits = self.model.scores(images)
                total = (logits * weights.to(logits.device)).sum()
        finally:
            hook.remove()
        gradient = None
        if total.requires_grad:
            (gradient,) = torch.autograd.grad(total, kept[-1], allow_unused=True)
        of_map = None if gradient is None else _as_map(layer, gradient)
        return _as_map(layer, kept[-1].detach()), of_map


def _as_map(layer: nn.Module, output: object) -> Tensor | None:
    """A layer's output as a map N×D×h×w of more than one cell, None where it is none.

    In transformers that is what a normalisation gives, whose channels come last: what follows the attention of the
    last block is of the class token alone.
    """
    if not isinstance(output, Tensor):
        return None
    if type(layer) is nn.LayerNorm:  # torchvision's LayerNorm2d, a subclass, has its channels first
        if output.ndim == 3:
            side = isqrt(output.shape[1])
            before = output.shape[1] - side**2  # the class token
            if before > 1:
                return None
            output = output[:, before:].unflatten(1, (side, side))
        output = output.movedim(-1, 1)
    # Images are square, and so are maps; tensors of four axes that are none hardly ever.
    return output if output.ndim == 4 and output.shape[2] == output.shape[3] > 1 else None


def as_pixels(maps: np.ndarray) -> np.ndarray:
    """Maps, float N×h×w, as gray pictures, uint8 N×128×128: what speaks for the class, 255 where most does.

    A map that is nowhere above 0 stays black.
    """
    positive = torch.from_numpy(maps).clamp(min=0)[:, None]
    large = interpolate(positive, (SIDE, SIDE), mode="bilinear", antialias=True)[:, 0]
    top = large.amax((1, 2), keepdim=True)
    return (255 * large / torch.where(top > 0, top, 1)).round().to(torch.uint8).numpy()


def write_heatmaps(
    cam: GradCam, records: list[Record], classes: np.ndarray, run: Run, batch_size: int, device: torch.device
) -> Steps[None]:
    """Yield progress and write the picture of each of N records, of the class of that index, int N, as `path_of` says.

    What an earlier attempt at the run has written stays.
    """
    at_once = min(batch_size, CPU_BATCH) if device.type == "cpu" else batch_size
    lacking = [i for i in range(len(records)) if not path_of(run, i).exists()]
    images = in_order(cam.model.load, [records[i].path for i in lacking])
    for start in range(0, len(lacking), at_once):
        places = lacking[start : start + at_once]
        pictures = as_pixels(cam(list(islice(images, len(places))), classes[places]))
        for i, picture in zip(places, pictures, strict=True):
            write_whole(path_of(run, i), lambda p, picture=picture: Image.fromarray(picture).save(p, format="png"))
        yield Progress(start + len(places), len(lacking), "Drawing heat maps")


def path_of(run: Run, index: int) -> Path:
    """The picture of the image of that index among the run's records."""
    return run.folder / heatmap_file(index)
