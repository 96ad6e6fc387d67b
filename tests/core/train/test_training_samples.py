"""Grids of images and curves while a training goes on: what is shown, and that looking changes nothing."""

from itertools import islice

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from saved import weights

from busaug_core.errors import UserError
from busaug_core.generate.config import Generation
from busaug_core.images import NOTICE
from busaug_core.jobs.events import Notice, Progress
from busaug_core.jobs.run import Run
from busaug_core.registry import job
from busaug_core.train import curves, samples
from busaug_core.train.controlnet import ControlNetMethod

SMALL = dict(steps=2, batch_size=2, resolution=64, precision="fp32", membership=False)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A single image of each class in two sampling steps."""
    monkeypatch.setattr(samples, "COLUMNS", 1)
    plain = Generation.resolve
    monkeypatch.setattr(Generation, "resolve", lambda self, runs: plain(self.model_copy(update={"steps": 2}), runs))


@pytest.fixture
def made(monkeypatch):
    """The images of each grid, by step."""
    found, plain = {}, samples.Samples._draw
    monkeypatch.setattr(samples.Samples, "_draw", lambda self, step, m: found.update({step: m}) or plain(self, step, m))
    return found


def test_looking_changes_nothing_also_where_it_is_stopped_in_the_midst_of_it(run_job, records, base, tmp_path, made):
    more = dict(rank=2, layers="cross_attention", dropout=0.5, learning_rate=0.05)
    values = dict(base_model=base, **more, **SMALL)
    plain = run_job("train_lora", records, run_key="plain", **values)
    assert not (tmp_path / "trial/runs/plain/samples").exists()
    stream = job("train_lora").run(dict(values, sample_every=1, run_key="seen"), records, "trial", tmp_path)
    looks = (e for e in stream if isinstance(e, Progress) and e.message.startswith("Making samples after 1"))
    list(islice(looks, 1))
    stream.close()
    assert Run(tmp_path / "trial/runs/seen").state == "stopped"
    seen = run_job("train_lora", records, sample_every=1, run_key="seen", **values)
    assert all(torch.equal(tensor, weights(seen)[name]) for name, tensor in weights(plain).items())
    grids = sorted((tmp_path / "trial/runs/seen/samples").iterdir())
    assert [grid.name for grid in grids] == ["0.png", "1.png", "2.png"]
    for grid in grids:
        with Image.open(grid) as picture:
            assert picture.text["Comment"] == NOTICE
    assert all(len(images) == 3 for images in made.values())
    changes = [np.abs(np.subtract(made[0], made[step], dtype=float)).mean() for step in (0, 1, 2)]
    assert changes[0] == 0 < min(changes[1:])


def test_the_last_grid_shows_what_the_saved_product_makes(run_job, masked, base, tmp_path, made):
    """As `generate` makes it, of the same noise: the moving average of a UNet, a token in its prompt."""
    for name, variant, field, rate in (
        ("finetune_unet", "ft", "unet", 1e-2),
        ("train_textual_inversion", None, "token", 0.5),
    ):
        run_job(name, masked, base_model=base, sample_every=2, run_key=field, **SMALL, learning_rate=rate)
        (shown,) = [s for s in _shown if s.label == "benign"]
        assert ("<ultrasound>" in shown.prompt) == (field == "token")
        assert np.abs(np.subtract(made[0], made[2], dtype=float)).mean() > 0.1
        if variant:
            picture = generated(run_job, masked, base, tmp_path, variant, shown.seed, **{field: field})
            assert np.abs(picture - made[2][0].astype(float)).max() <= 1


_shown: list[samples.Shown] = []


@pytest.fixture(autouse=True)
def shown(monkeypatch):
    plain = samples.Samples.__init__

    def init(self, *given):
        plain(self, *given)
        _shown[:] = self.shown

    monkeypatch.setattr(samples.Samples, "__init__", init)


def generated(run_job, records, base, tmp_path, variant, seed, **parts):
    """The image of a variant at a seed, float S×S."""
    from busaug_core.generate import plan

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "item_seed", lambda *_: seed)
        values = dict(base_model=base, resolution=64, precision="fp32", counts={"benign": 1})
        run_job(
            "generate", records, run_key=f"made_{variant}", variants=[variant], domain_guidance=1, **values, **parts
        )
    (record,) = Run(tmp_path / f"trial/runs/made_{variant}").products
    return np.asarray(Image.open(record.path), float)


def test_a_controlnets_grid_follows_the_masks_of_training_images_and_shows_them(run_job, masked, base, monkeypatch):
    steered, drawn = [], []
    plain = ControlNetMethod.as_product
    monkeypatch.setattr(ControlNetMethod, "as_product", lambda self, p: steered.append((self, p)) or plain(self, p))
    subplots = Figure.subplots
    monkeypatch.setattr(Figure, "subplots", lambda self, *a, **k: drawn.append(a) or subplots(self, *a, **k))
    values = dict(base_model=base, sample_every=2, learning_rate=0.1, **SMALL)
    run_job("train_controlnet", masked, **values)
    method, _ = steered[0]
    places = [place for _, batch in steered[:2] for place in batch]
    assert [bool(method.batches.masks[place].any()) for place in places] == [True, True, False]
    assert max(places) < method.batches.trained
    assert (6, 1) in drawn  # masks and images of three classes
    assert not method._attached.on


def test_images_that_come_out_blank_are_told_and_end_nothing(records, base, tmp_path, monkeypatch):
    def decode(*_):
        raise UserError("An image came out blank.")

    monkeypatch.setattr(samples, "decode", decode)
    values = dict(base_model=base, rank=2, layers="cross_attention", sample_every=2, **SMALL)
    events = list(job("train_lora").run(values, records, "trial", tmp_path))
    told = [e.message for e in events if isinstance(e, Notice)]
    assert "There are no samples after 0 steps: An image came out blank." in told
    assert events[-1].result["state"] == "done"


def test_curves_are_drawn_while_it_trains_and_never_take_more_than_a_twentieth(run_job, records, base, monkeypatch):
    now, drawn, seen = [0.0], [], []
    monkeypatch.setattr(curves.time, "monotonic", lambda: now[0])

    def draw(run, message, rows):
        drawn.append(now[0])
        now[0] += 1.0

    check = curves.Curves(type("R", (), dict(writes=True, has_begun=True))(), "Training", 1000, None)
    monkeypatch.setattr(curves, "draw_curves", draw)
    for step in range(1, 200):
        now[0] += 1.0
        seen += list(check.look(step))
    assert not seen
    assert drawn[0] == 11 and drawn[1] - drawn[0] > 20


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_samples_of_a_trained_text_encoder_are_made_in_half_precision_too(run_job, records, base, precision, tmp_path):
    values = dict(steps=1, batch_size=2, resolution=64, rank=2, membership=False, sample_every=1, precision=precision)
    run_job("train_lora", records, base_model=base, run_key="text", text_encoder=True, **values)
    assert {path.name for path in (tmp_path / "trial/runs/text/samples").iterdir()} == {"0.png", "1.png"}
