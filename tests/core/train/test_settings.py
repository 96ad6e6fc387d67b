"""Settings of trainings: what alpha, dropout, weighting, rate, noise, the text encoder and the parts of a step do."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig as PeftConfig
from peft.tuners.lora.layer import LoraLayer
from safetensors.torch import load_file

from busaug_core.base import on_cpu
from busaug_core.base.components import LORA
from busaug_core.base.loading import load_pipeline
from busaug_core.errors import UserError
from busaug_core.train import batch, denoising, lora, training
from busaug_core.train.config import Lora
from busaug_core.train.lora import LAYERS, LoraMethod, replace_forward

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


@torch.no_grad()
def predicted(pipe):
    states = pipe.text_encoder(torch.tensor([[1, 2, 3, 4]]))[0]
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    return states, pipe.unet(latents, torch.tensor([500]), states).sample


def test_a_lora_of_the_text_encoder_too_predicts_alike_in_training_here_and_in_plain_diffusers(
    run_job, records, base, monkeypatch
):
    learned = []  # what is trained is taken off when it is read back
    monkeypatch.setattr(training, "read_back", lambda method, *_: learned.extend(predicted(method.pipe)))
    values = {**SMALL, "steps": 2, "learning_rate": 0.02, "layers": "attention"}
    result = run_job("train_lora", records, base_model=base, text_encoder=True, alpha=8, rank=2, **values)
    text = {name: t for name, t in load_file(result["weights"]).items() if name.startswith("text_encoder.")}
    assert len(text) == 2 * 4 * 3, "two halves of four projections in three layers"
    assert all(tensor.abs().sum() > 0 for tensor in text.values())
    assert result["trained_parameters"] == sum(t.numel() for t in load_file(result["weights"]).values())
    plain = StableDiffusionPipeline.from_pretrained(base, dtype=torch.float32)
    before = predicted(plain)
    plain.load_lora_weights(result["folder"])
    here = load_pipeline(base, CPU, torch.float32)
    attached = LORA.attach(here, Path(result["weights"]))
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(predicted(here), before, strict=True))
    attached.switch(True)
    for trained, there, own, untuned in zip(learned, predicted(plain), predicted(here), before, strict=True):
        assert torch.allclose(there, trained, atol=1e-4) and torch.allclose(own, trained, atol=1e-4)
        assert (trained - untuned).abs().max() > 0.01


def test_a_step_in_parts_is_the_step_as_a_whole(run_job, records, base, monkeypatch):
    sizes, plain = [], denoising.Denoising.loss
    monkeypatch.setattr(denoising.Denoising, "loss", lambda self, b: sizes.append(len(b.chosen)) or plain(self, b))
    values = dict(SMALL, base_model=base, steps=2, batch_size=4, rank=2, layers="attention", caption_dropout=0.5)
    whole, parts = (run_job("train_lora", records, accumulation=n, **values) for n in (1, 3))
    assert sizes == [1, 2, 4, 4, 1, 2, 1, 1, 2, 1, 1, 2], "of an image and of two the memory is estimated first"
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    one, other = load_file(whole["weights"]), load_file(parts["weights"])
    assert all(torch.allclose(one[name], other[name], atol=3e-4) for name in one)
    with pytest.raises(UserError, match="accumulation is 5, more than the 4 images of a step"):
        run_job("train_lora", records, accumulation=5, **values)


@pytest.mark.parametrize("name", ["train_lora", "finetune_unet", "train_controlnet"])
def test_gradient_checkpointing_keeps_fewer_inner_values(run_job, masked, base, monkeypatch, name):
    kept, plain = [], denoising.Denoising.loss

    def loss(self, drawn):
        found = {}
        keep = lambda tensor: found.setdefault(tensor.data_ptr(), tensor.nbytes) and tensor  # noqa: E731
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            value = plain(self, drawn)
        kept.append(sum(found.values()))
        return value

    monkeypatch.setattr(denoising.Denoising, "loss", loss)
    for on in (False, True):
        run_job(name, masked, base_model=base, gradient_checkpointing=on, **{**SMALL, "steps": 1})
    plain_step, checkpointed = kept[2::3]  # the others are estimates of the memory
    assert checkpointed < plain_step / 2


@pytest.mark.parametrize(("precision", "quick"), [("bf16", True), ("fp32", False)])
def test_attention_and_norms_on_a_cpu_are_replaced_only_where_that_is_faster(
    run_job, masked, base, monkeypatch, precision, quick
):
    attentions, norms, loss = set(), set(), denoising.Denoising.loss
    of_base = "AttnProcessor2_0"

    def looked_at(self, drawn):
        for network in self.networks:
            attentions.update(type(p).__name__ for p in network.attn_processors.values())
            norms.update(type(m) for m in network.modules() if isinstance(m, torch.nn.GroupNorm))
        return loss(self, drawn)

    fast, backward = [], on_cpu.ChannelsLastGroupNorm.backward
    monkeypatch.setattr(on_cpu, "FEWEST_PLACES", 8 * 8)
    monkeypatch.setattr(on_cpu.ChannelsLastGroupNorm, "backward", lambda *a: fast.append(1) or backward(*a))
    monkeypatch.setattr(denoising.Denoising, "loss", looked_at)
    values = dict(SMALL, base_model=base, steps=1, precision=precision)
    run_job("train_controlnet", masked, **values)
    assert attentions == {"PlainAttention" if quick else of_base}
    assert norms == {on_cpu.FastGroupNorm if quick else torch.nn.GroupNorm}
    assert bool(fast) == quick
    monkeypatch.setattr(on_cpu, "MOST_PLACES", 16 * 16 - 1)
    attentions.clear()
    run_job("train_controlnet", masked, **values)
    assert attentions == {of_base}, "its matrix of all places against all would be large"


@pytest.mark.parametrize(
    ("job", "own", "quick"),
    [
        ("train_textual_inversion", dict(precision="bf16"), True),
        ("train_lora", dict(precision="bf16", text_encoder=True), True),
        ("train_textual_inversion", dict(precision="fp32"), False),
        ("train_lora", dict(precision="bf16"), False),
    ],
)
def test_a_text_encoder_that_gradients_pass_attends_as_fast_as_the_unet(
    run_job, masked, base, monkeypatch, job, own, quick
):
    attentions, loss = set(), denoising.Denoising.loss

    def looked_at(self, drawn):
        attentions.add(self.pipe.text_encoder.config._attn_implementation)
        return loss(self, drawn)

    monkeypatch.setattr(denoising.Denoising, "loss", looked_at)
    run_job(job, masked, **dict(SMALL, base_model=base, steps=1, **own))
    assert attentions == {"eager" if quick else "sdpa"}


@pytest.mark.parametrize("layers", ["attention", "wide"])
@pytest.mark.parametrize(
    ("dtype", "dropout", "merged", "tolerance"),
    [
        (torch.float32, 0.0, lora.LARGEST_MERGED, 1e-4),
        (torch.float32, 0.0, 0, 1e-4),
        (torch.float32, 0.1, lora.LARGEST_MERGED, 1e-4),
        (torch.bfloat16, 0.0, lora.LARGEST_MERGED, 5e-2),
    ],
)
def test_layers_compute_what_those_of_peft_do(base, monkeypatch, layers, dtype, dropout, merged, tolerance):
    monkeypatch.setattr(lora, "LARGEST_MERGED", merged)
    torch.manual_seed(0)
    method = LoraMethod(load_pipeline(base, CPU, dtype), 4, layers, alpha=8, dropout=dropout)
    for name, parameter in method.parameters().items():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    unet = method.pipe.unet
    own = [m for m in unet.modules() if isinstance(m, LoraLayer)]
    used = {m.forward.func.__name__ for m in own}
    assert used == {"_forward_merged" if merged and not dropout and dtype == torch.float32 else "_forward_apart"}
    torch.manual_seed(1)
    noisy, states = torch.randn(2, 4, 16, 16), torch.randn(2, 77, unet.config.cross_attention_dim)
    found = []
    for _ in range(2):
        torch.manual_seed(2)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            out = unet(noisy.to(dtype), torch.tensor([10, 500]), states.to(dtype)).sample.float()
        gradients = torch.autograd.grad(out.square().mean(), list(method.parameters().values()))
        found.append((out.detach(), gradients))
        for layer in own:
            vars(layer).pop("forward", None)
    (lean, ours), (plain, theirs) = found
    assert lean.isfinite().all()
    assert _off(lean, plain) < tolerance
    assert all(_off(own, plain) < 2 * tolerance for own, plain in zip(ours, theirs, strict=True))
    replace_forward(own)
    method.take_off()
    assert not any("forward" in vars(layer) for layer in own), "they would live as long as nobody looks for cycles"
    with torch.no_grad():
        without = unet(noisy.to(dtype), torch.tensor([10, 500]), states.to(dtype)).sample.float()
    assert _off(without, plain) > 4 * tolerance, "the update does something"


def _off(found, expected):
    return float((found - expected).norm() / expected.norm())
