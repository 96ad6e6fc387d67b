"""Stable Diffusion 1.5's architecture at full size, with random weights, through every diffusion job."""

import resource
import time

import pytest

from benchmarks._random_stable_diffusion import write_random_stable_diffusion

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stable_diffusion(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "stable-diffusion"
    write_random_stable_diffusion(folder)
    return str(folder)


def test_one_lora_step_one_token_step_and_a_two_step_hybrid_generation(run_job, records, stable_diffusion, capsys):
    few = [r for r in records if r.path.endswith(("(3).png", "(4).png"))]
    training = dict(base_model=stable_diffusion, steps=1, batch_size=1)
    report = []

    def timed(name, **values):
        start = time.perf_counter()
        result = run_job(name, few, **values)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        report.append(f"{name}: {time.perf_counter() - start:.0f} s, peak {peak:.1f} GB")
        return result

    lora = timed("train_lora", run_key="lora", **training)
    assert lora["trained_parameters"] == 797_184, "rank 4 on all attention projections"
    token = timed("train_textual_inversion", run_key="token", lora="lora", images_per_class=1, **training)
    assert token["norm"] == pytest.approx(token["vocabulary_norm"], rel=1e-3)
    made = timed(
        "generate",
        base_model=stable_diffusion,
        lora="lora",
        token="token",
        variants=["sd", "sd_ti_img2img"],
        counts={"benign": 1},
        steps=2,
        strength=0.5,
        run_key="images",
    )
    assert made["images"] == 2
    with capsys.disabled():
        print("\n" + "\n".join(report))
