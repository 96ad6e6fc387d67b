"""Settings of trainings: what alpha, dropout, weighting, rate and noise do."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig as PeftConfig
from safetensors.torch import load_file

from busaug_core.base.components import LORA
from busaug_core.base.loading import load_pipeline
from busaug_core.train import batch
from busaug_core.train.config import Lora
from busaug_core.train.lora import LAYERS, LoraMethod

CPU = torch.device("cpu")
SMALL = dict(steps=4, batch_size=2, resolution=64, precision="fp32", membership=False)


def test_alpha_scales_the_update_in_the_file_too(base, tmp_path):
    changes = {}
    for name, alpha in (("one", None), ("double", 4.0)):
        torch.manual_seed(0)
        method = LoraMethod(load_pipeline(base, CPU, torch.float32), 2, "attention", alpha)
        for parameter_name, parameter in method.parameters().items():
            if ".lora_B." in parameter_name:
                torch.nn.init.constant_(parameter, 0.01)
        layer = method.pipe.unet.get_submodule("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q")
        plain = layer.get_base_layer().weight.clone()
        (tmp_path / name).mkdir()
        method.save(tmp_path / name)
        pipe = load_pipeline(base, CPU, torch.float32)
        LORA.attach(pipe, tmp_path / name / "pytorch_lora_weights.safetensors").switch(True)
        loaded = pipe.unet.get_submodule("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q").weight
        changes[name] = loaded - plain
        assert torch.allclose(changes[name], layer.get_delta_weight("default"), atol=1e-6)
    assert torch.allclose(changes["double"], 2 * changes["one"], atol=1e-6)


def test_dropout_is_on_while_it_learns_and_repeats_exactly(run_job, records, base):
    plain = run_job("train_lora", records, base_model=base, **SMALL)
    dropped = [run_job("train_lora", records, base_model=base, dropout=0.5, **SMALL) for _ in "ab"]
    one, other = (load_file(result["weights"]) for result in dropped)
    assert any(not torch.equal(one[name], tensor) for name, tensor in load_file(plain["weights"]).items())
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("prediction", "ratio"),
    [("epsilon", lambda snr: min(snr, 5) / snr), ("v_prediction", lambda snr: min(snr, 5) / (snr + 1))],
)
def test_min_snr_weighs_timesteps_by_what_is_predicted(base, prediction, ratio):
    pipe = load_pipeline(base, CPU, torch.float32)
    pipe.scheduler.register_to_config(prediction_type=prediction)
    batches = batch.Batches(pipe, torch.zeros(1, 2, 8, 16, 16), [["x"]], Lora(snr_gamma=5).resolve(), 1)
    timesteps = torch.tensor([10, 400, 900])
    kept = pipe.scheduler.alphas_cumprod[timesteps].double()
    wanted = [ratio(float(a / (1 - a))) for a in kept]
    assert batches.weights(timesteps).tolist() == pytest.approx(wanted, rel=1e-4)


def test_the_rate_warms_up_and_falls(base):
    pipe = load_pipeline(base, CPU, torch.float32)
    method = LoraMethod(pipe, 2, "attention")
    config = Lora(steps=100, warmup_steps=10, schedule="cosine").resolve()
    method.batches = batch.Batches(pipe, torch.zeros(1, 2, 8, 16, 16), [["x"]], config, 1)
    rates = [method.rate((step + 1) / 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1, rel=0.01)
    assert rates.index(max(rates)) in (9, 10)
    assert 0 < rates[-1] < 1e-3 and rates[50] == pytest.approx(0.5, abs=0.02)
    method.batches.config = Lora(steps=100).resolve()
    assert {method.rate((step + 1) / 100) for step in range(100)} == {1.0}


def test_noise_offset_shifts_whole_channels(base):
    pipe = load_pipeline(base, CPU, torch.float32)
    means = {}
    for offset in (0.0, 0.5):
        config = Lora(batch_size=64, noise_offset=offset).resolve()
        batches = batch.Batches(pipe, torch.zeros(64, 2, 8, 16, 16), [["x"]] * 64, config, 64)
        means[offset] = float(batches.draw(0).noise.mean((2, 3)).std())
    assert means[0.0] == pytest.approx(1 / 16, rel=0.15)
    assert means[0.5] == pytest.approx((0.25 + 1 / 256) ** 0.5, rel=0.15)


def test_the_preset_of_meddap_trains_less_than_a_thousandth_of_stable_diffusion():
    assert Lora(preset="meddap").rank == 4
    shares = {2: 0.023, 4: 0.046, 8: 0.093}
    with torch.device("meta"):  # the architecture without its weights
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        total = sum(p.numel() for p in unet.parameters())
        for rank in shares:
            config = Lora(preset="meddap", rank=rank)
            settings = dict(target_modules=LAYERS[config.layers], init_lora_weights=False)
            unet.add_adapter(PeftConfig(r=config.rank, **settings), adapter_name=f"rank{rank}")
    for rank, percent in shares.items():
        trained = sum(p.numel() for name, p in unet.named_parameters() if f".rank{rank}." in name)
        assert 100 * trained / total == pytest.approx(percent, abs=5e-4)
