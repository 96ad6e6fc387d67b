"""Generating a few images."""

from busaug_core.generate.config import generate_config
from busaug_core.generate.plan import Item
from busaug_core.generate.producer import Producer
from busaug_core.images import load_gray
from busaug_core.jobs.events import Made
from busaug_core.jobs.lineage import resolve_products
from busaug_core.jobs.run import Run
from busaug_core.registry import job

Generate = generate_config()
FOUR = ["sd", "sd_img2img", "sd_ti", "sd_ti_img2img"]
QUICK = dict(
    steps=10, resolution=64, batch_size=3, precision="fp32", guidance_scale=2, guidance_end=1, domain_guidance=1
)


def make(trained, records, key, **values):
    values = {**QUICK, "lora": "lora", "token": "token", "run_key": key, **values}
    return list(job("generate").run(values, records, "trial", trained))


def images(events, variant):
    return {
        e.record.pair: load_gray(e.record.path, 64).astype(float)
        for e in events
        if isinstance(e, Made) and e.record.variant == variant
    }


def producer_of(trained, config):
    """What makes images by a config, with what lies in the home `trained`."""
    run = Run(trained / "trial/runs/all")
    run.used = resolve_products(config, run)
    return Producer(config, run, [Item("benign", 0, 0)])
