"""A small classifier of simulated scans, which tells whether mini's samples show the class of their prompt."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from busaug_core.files import write_whole
from busaug_core.jobs.device import bfloat16_where_fast
from busaug_core.jobs.events import Progress, Steps
from busaug_core.pretrain.text import CLASSES


class ScanClassifier(nn.Module):
    """A small residual-free classifier of 128×128 images into `CLASSES`."""

    def __init__(self) -> None:
        super().__init__()
        layers, width = [], 1
        for wider in (24, 48, 96, 128, 160):
            layers += [
                nn.Conv2d(width, wider, 3, 1 if wider > 24 else 2, 1, bias=False),
                nn.BatchNorm2d(wider),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            width = wider
        self.features = nn.Sequential(*layers)
        self.classify = nn.Linear(2 * width, len(CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        """images: uint8 N×H×W. Returns logits N×3."""
        x = images.float()[:, None]
        x = (x - x.mean((1, 2, 3), keepdim=True)) / (x.std((1, 2, 3), keepdim=True) + 1)
        x = self.features(x)
        return self.classify(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))


def train_classifier(path: Path, images: Tensor, labels: Tensor, epochs: int, seed: int) -> Steps[None]:
    """Train on uint8 N×128×128 images, mirrored, shifted and of varied contrast, and write the weights to `path`.

    A few minutes at most, so that one that is stopped begins again.
    """
    torch.manual_seed(seed)
    model = ScanClassifier()
    random = torch.Generator()
    random.set_state(torch.get_rng_state())
    batches = max(1, len(images) // 32)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, epochs * batches)
    for epoch in range(epochs):
        for number, part in enumerate(torch.randperm(len(images), generator=random).split(32)[:batches], 1):
            x = images[part]
            if torch.rand((), generator=random) < 0.5:
                x = x.flip(-1)
            x = x.roll(tuple(torch.randint(-6, 7, (2,), generator=random).tolist()), (-2, -1))
            with bfloat16_where_fast(images.device):
                logits = model(x)
            loss = F.cross_entropy(logits.float(), labels[part], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            done = epoch * batches + number
            yield Progress(done, epochs * batches, "Training the classifier", {"loss": loss.item()})
    write_whole(path, lambda partial: save_file(model.state_dict(), partial))


def load_classifier(path: Path) -> ScanClassifier:
    """The classifier that `train_classifier` wrote, ready to predict."""
    model = ScanClassifier()
    model.load_state_dict(load_file(path))
    return model.eval()


@torch.no_grad()
def predicted_shares(model: ScanClassifier, images: Tensor) -> list[float]:
    """Shares of uint8 N×H×W images taken for each of `CLASSES`."""
    votes = torch.cat([model(part).argmax(1) for part in images.split(64)])
    return [round((votes == i).float().mean().item(), 3) for i in range(len(CLASSES))]
