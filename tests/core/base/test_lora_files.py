"""LoRA files of others do what their numbers say, off leaves the base as it was, and the rest is refused by name."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from foreign_base import PAGE, POINTER
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model
from safetensors.torch import save_file

from busaug_core.base.components import LORA
from busaug_core.base.loading import load_pipeline
from busaug_core.errors import UserError
from busaug_core.jobs.lineage import resolve_product
from busaug_core.jobs.run import Run

CPU = torch.device("cpu")
ATTENTION = [
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0",
]
LINEAR = [*ATTENTION, "up_blocks.0.attentions.0.transformer_blocks.0.ff.net.2"]
CONVOLUTION = "down_blocks.1.resnets.0.conv1"
TEXT = ["encoder.layers.0.self_attn.q_proj", "encoder.layers.1.mlp.fc1"]


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))) * 0.3


def kohya(layer):
    return ("lora_te_text_model_" if layer in TEXT else "lora_unet_") + layer.replace(".", "_")


@pytest.fixture(scope="module")
def plain(base):
    return load_pipeline(base, CPU, torch.float32)


@pytest.fixture
def pipe(base):
    return load_pipeline(base, CPU, torch.float32)


@torch.no_grad()
def predict(pipe):
    """The UNet's prediction for a prompt: both parts decide it."""
    states = pipe.text_encoder(torch.tensor([[1, 2, 3, 4]]))[0]
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    return pipe.unet(latents, torch.tensor([500]), states).sample


def layer_of(pipe, name):
    return (pipe.text_encoder if name in TEXT else pipe.unet).get_submodule(name)


def halves(plain, layers, rank=4):
    """The two matrices of each layer's update, A of rank×in and B of out×rank (convolutions: k×k and 1×1)."""
    found = {}
    for name in layers:
        shape = layer_of(plain, name).weight.shape
        found[name] = random(rank, *shape[1:]), random(shape[0], rank, *[1] * (len(shape) - 2))
    return found


def updates(found, scale=1.0):
    return {name: scale * (b.flatten(1) @ a.flatten(1)) for name, (a, b) in found.items()}


def save(folder, weights, name="adapter.safetensors", **settings):
    folder.mkdir(exist_ok=True)
    save_file({key: tensor.contiguous().clone() for key, tensor in weights.items()}, folder / name)
    if settings:
        (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder / name


def holds(base, path, changes):
    """Whether the file on the base predicts what the base does with changed weights, and off what the base does."""
    by_hand, pipe = load_pipeline(base, CPU, torch.float32), load_pipeline(base, CPU, torch.float32)
    before = predict(by_hand)
    with torch.no_grad():
        for name, change in changes.items():
            weight = layer_of(by_hand, name).weight
            weight += change.reshape(weight.shape)
    expected = predict(by_hand)
    attached = LORA.attach(pipe, path)
    off = predict(pipe)
    attached.switch(True)
    on = predict(pipe)
    attached.switch(False)
    assert torch.equal(off, before) and torch.equal(predict(pipe), before)
    assert (expected - before).abs().max() > 100 * (on - expected).abs().max()
    assert torch.allclose(on, expected, atol=1e-4)


def old_name(layer):
    """As diffusers called attention layers before it took peft's names."""
    block, _, last = layer.removesuffix(".0").rpartition(".")
    return f"{block}.processor.{last}_lora"


NAMES = {
    "peft's": (lambda n: f"unet.{n}.lora_A.weight", lambda n: f"unet.{n}.lora_B.weight"),
    "diffusers' of 0.22": (lambda n: f"unet.{n}.lora.down.weight", lambda n: f"unet.{n}.lora.up.weight"),
    "diffusers' of 0.15": (lambda n: f"unet.{old_name(n)}.down.weight", lambda n: f"unet.{old_name(n)}.up.weight"),
    "diffusers' of 0.11": (lambda n: f"{old_name(n)}.down.weight", lambda n: f"{old_name(n)}.up.weight"),
    "kohya's": (lambda n: f"{kohya(n)}.lora_down.weight", lambda n: f"{kohya(n)}.lora_up.weight"),
}


@pytest.mark.parametrize("names", NAMES)
def test_each_way_of_naming_layers_is_known(base, plain, tmp_path, names):
    found, (a_name, b_name) = halves(plain, ATTENTION), NAMES[names]
    weights = {a_name(n): a for n, (a, _) in found.items()} | {b_name(n): b for n, (_, b) in found.items()}
    holds(base, save(tmp_path, weights), updates(found))


def test_kohyas_ranks_and_alphas_hold_layer_by_layer_in_both_parts(base, plain, tmp_path):
    weights, changes = {}, {}
    for i, name in enumerate([*LINEAR, CONVOLUTION, *TEXT]):
        rank, alpha = 2 + i, 1.0 + 2 * i
        found = halves(plain, [name], rank)
        weights |= {f"{kohya(name)}.lora_down.weight": found[name][0], f"{kohya(name)}.lora_up.weight": found[name][1]}
        weights[f"{kohya(name)}.alpha"] = torch.tensor(alpha)
        changes |= updates(found, alpha / rank)
    holds(base, save(tmp_path, weights), changes)


def test_a_locon_with_a_core_between_its_halves_is_loaded(base, plain, tmp_path):
    out, into, *kernel = layer_of(plain, CONVOLUTION).weight.shape
    parts = {"lora_up": random(out, 3, 1, 1), "lora_mid": random(3, 3, *kernel), "lora_down": random(3, into, 1, 1)}
    weights = {f"{kohya(CONVOLUTION)}.{key}.weight": tensor for key, tensor in parts.items()}
    weights[f"{kohya(CONVOLUTION)}.alpha"] = torch.tensor(6.0)
    image = random(1, into, 9, 9)
    one_by_one = image
    for key in ("lora_down", "lora_mid", "lora_up"):
        one_by_one = torch.nn.functional.conv2d(one_by_one, parts[key], padding=1 if key == "lora_mid" else 0)
    change = torch.stack(
        [
            parts["lora_up"][:, :, 0, 0] @ parts["lora_mid"][..., i, j] @ parts["lora_down"][..., 0, 0]
            for i in range(3)
            for j in range(3)
        ],
        -1,
    ).reshape(out, into, 3, 3)
    assert torch.allclose(torch.nn.functional.conv2d(image, change, padding=1), one_by_one, atol=1e-4)
    holds(base, save(tmp_path, weights), {CONVOLUTION: 2 * change})


@pytest.mark.parametrize("axis", ["output", "input"])
def test_the_dora_scale_of_kohyas_names_is_the_norm_of_each_output_or_input(base, plain, tmp_path, axis):
    weights, changes = {}, {}
    for name in [*LINEAR, CONVOLUTION, *TEXT]:
        found, weight = halves(plain, [name]), layer_of(plain, name).weight
        weights |= {f"{kohya(name)}.lora_down.weight": found[name][0], f"{kohya(name)}.lora_up.weight": found[name][1]}
        changed = weight + updates(found)[name].reshape(weight.shape)
        others = [i for i in range(weight.ndim) if i != (axis == "input")]
        scale = 1.2 * torch.linalg.vector_norm(weight, dim=others, keepdim=True)
        weights[f"{kohya(name)}.dora_scale"] = scale
        changes[name] = scale * changed / torch.linalg.vector_norm(changed, dim=others, keepdim=True) - weight
    holds(base, save(tmp_path, weights), changes)


@pytest.mark.parametrize("prefix", ["lora_unet_", "lycoris_"])
def test_a_loha_of_lycoris_is_loaded(base, plain, tmp_path, prefix):
    weights, changes = {}, {}
    for name in [*LINEAR, CONVOLUTION]:
        out, *into = layer_of(plain, name).weight.shape
        a, b = random(out, 3), random(3, torch.Size(into).numel())
        c, d = a.flip(0), b.flip(1)
        parts = dict(hada_w1_a=a, hada_w1_b=b, hada_w2_a=c, hada_w2_b=d, alpha=torch.tensor(6.0))
        weights |= {f"{kohya(name)}.{key}".replace("lora_unet_", prefix): tensor for key, tensor in parts.items()}
        changes[name] = 2 * (a @ b) * (c @ d)
    holds(base, save(tmp_path, weights), changes)


def test_a_lokr_of_lycoris_is_loaded_with_whole_and_with_low_rank_factors(base, plain, tmp_path):
    weights, changes = {}, {}
    for name in [*LINEAR, CONVOLUTION]:
        out, into, *kernel = layer_of(plain, name).weight.shape
        first, a, b = random(4, 4), random(out // 4, 2), random(2, into // 4 * torch.Size(kernel).numel())
        parts = dict(lokr_w1=first, lokr_w2_a=a, lokr_w2_b=b, alpha=torch.tensor(1.0))
        changes[name] = torch.kron(first, a @ b) / 2
        if name == CONVOLUTION:  # alpha is without effect on whole factors
            parts = dict(lokr_w1=first, lokr_w2=(a @ b).reshape(out // 4, into // 4, *kernel), alpha=torch.tensor(9.0))
            changes[name] = torch.kron(first, a @ b)
        weights |= {f"{kohya(name)}.{key}": tensor for key, tensor in parts.items()}
    holds(base, save(tmp_path, weights), changes)


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(r=3, lora_alpha=6, init_lora_weights=False),
        LoraConfig(r=4, lora_alpha=4, init_lora_weights=False, use_rslora=True),
        LoraConfig(r=3, lora_alpha=6, init_lora_weights=False, use_dora=True),
        LoHaConfig(r=3, alpha=6, init_weights=False),
        LoKrConfig(r=3, alpha=6, init_weights=False),
    ],
    ids=["LoRA", "rsLoRA", "DoRA", "LoHa", "LoKr"],
)
@pytest.mark.parametrize(("part", "targets"), [("unet", ["to_q", "conv1"]), ("text_encoder", ["q_proj"])])
def test_an_adapter_folder_of_peft_does_what_it_did_there(base, pipe, plain, tmp_path, config, part, targets):
    config.target_modules = set(targets)
    torch.manual_seed(0)
    there = load_pipeline(base, CPU, torch.float32)
    model = get_peft_model(getattr(there, part), config).eval()
    model.save_pretrained(tmp_path)
    attached = LORA.attach(pipe, tmp_path / "adapter_model.safetensors")
    assert torch.equal(predict(pipe), predict(plain))
    attached.switch(True)
    assert torch.allclose(predict(pipe), predict(there), atol=1e-4)
    assert not torch.equal(predict(pipe), predict(plain))


def test_a_dora_in_diffusers_names_is_loaded(base, pipe, plain, tmp_path):
    name = ATTENTION[0]
    (a, b), weight = halves(plain, [name])[name], layer_of(plain, name).weight
    magnitude = 1.5 * weight.norm(dim=1)
    parts = {"lora_A.weight": a, "lora_B.weight": b, "lora_magnitude_vector": magnitude}
    path = save(tmp_path, {f"unet.{name}.{key}": tensor for key, tensor in parts.items()})
    changed = weight + b @ a
    holds(base, path, {name: changed * (magnitude / changed.norm(dim=1))[:, None] - weight})


def test_peft_folders_are_found_by_their_folder(tmp_path):
    path = save(tmp_path / "adapter", {"x": random(1)}, "adapter_model.safetensors")
    assert resolve_product(Run(tmp_path / "runs/one"), str(path.parent), LORA.product).path == path


def test_a_foreign_lora_makes_images_and_carries_a_token(run_job, records, base, plain, tmp_path):
    found = halves(plain, ATTENTION)
    weights = {f"{kohya(n)}.hada_w{i}_a": b for n, (_, b) in found.items() for i in (1, 2)}
    weights |= {f"{kohya(n)}.hada_w{i}_b": a for n, (a, _) in found.items() for i in (1, 2)}
    path = save(tmp_path, weights)
    small = dict(base_model=base, lora=str(path), resolution=64, precision="fp32")
    run_job("train_textual_inversion", records, steps=1, batch_size=2, run_key="token", membership=False, **small)
    values = dict(token="token", variants=["base", "sd", "sd_ti"], counts={"benign": 1}, steps=2, **small)
    assert run_job("generate", records, **values)["images"] == 3


def lora(layer="mid_block.attentions.0.transformer_blocks.0.attn1.to_q", width=64, prefix="unet."):
    return {f"{prefix}{layer}.lora_A.weight": random(4, width), f"{prefix}{layer}.lora_B.weight": random(width, 4)}


LAYER = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
PLAIN = {f"{LAYER}.lora_down.weight": random(4, 64), f"{LAYER}.lora_up.weight": random(64, 4)}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "is no LoRA; it seems to be a file without tensors"),
        ({"<us>": random(1, 128)}, "is no LoRA; it seems to be something else .*<us>"),
        ({"emb_params": random(1, 128)}, "is no LoRA; it seems to be a learned token"),
        ({"conv_in.weight": random(4), "time_embedding.linear_1.bias": random(4)}, "is no LoRA; it seems to be a UNet"),
        ({"model.diffusion_model.out.0.bias": random(4)}, "is no LoRA; it seems to be a whole checkpoint"),
        ({"controlnet_cond_embedding.conv_in.bias": random(4)}, "is no LoRA; it seems to be a ControlNet"),
        (lora(width=161), "is no LoRA of this base model .*size mismatch"),
        (lora("mid_block.attentions.9.to_q"), "is no LoRA of this base|0 fit this base"),
        (lora("single_transformer_blocks.0.attn.to_q", prefix="transformer."), "seems to be of Flux or another"),
        (lora(prefix="text_encoder_2."), "0 fit this base model, it seems to be of Stable Diffusion XL"),
        (
            {**PLAIN, f"{LAYER}.dora_scale": random(8, 1)},
            "does not fit .*dora_scale of .8, 1. for a weight of .64, 64",
        ),
        ({**PLAIN, f"{LAYER}.lora_mid.weight": random(4, 4)}, "does not fit mid_block"),
        ({**PLAIN, f"{LAYER}.lora_mod.weight": random(4, 4)}, "by lora_mod.weight, which is not known here"),
        ({f"{LAYER}.diff": random(64, 64)}, "by diff, which is whole weights"),
        ({f"{LAYER}.weight": random(64), f"{LAYER}.on_input": random(1)}, "by on_input, weight, which is an .IA.³"),
        ({f"{LAYER}.oft_blocks": random(4, 40, 40), f"{LAYER}.alpha": random(1)}, "by oft_blocks, which is OFT"),
        ({f"{LAYER}.{n}.weight": random(4, 64) for n in ("a1", "a2", "b1", "b2")}, "by a1.weight, .* is a GLoRA"),
        ({f"{LAYER}.w_norm": random(64)}, "by w_norm, which is norms that were trained whole"),
        ({"base_model.model.mid_block.attn.to_q.ia3_l": random(64, 1)}, "adapter of peft without its"),
        ({"unet.mid_block.attn.to_q.ia3_l": random(64, 1)}, "is no LoRA; it seems to be an .IA.³ adapter"),
        ({"unet.mid_block.attn.to_q.oft_R.weight": random(4, 4)}, "is no LoRA; it seems to be an OFT adapter"),
        ({f"{LAYER}.lora_down.weight": random(4, 64)}, "does not fit .*lora_up"),
        ({f"{LAYER}.hada_w1_a": random(64, 4)}, "does not fit .*hada_w1_b"),
        ({f"{LAYER}.lokr_w1": random(4, 4), f"{LAYER}.lokr_w2": random(4, 4)}, "does not fit .* another base"),
        ({n.replace("mid_block", "input_blocks_4"): t for n, t in PLAIN.items()}, "input_blocks.* is no layer of this"),
    ],
)
def test_what_is_no_lora_of_this_base_is_refused_with_what_it_is(pipe, tmp_path, weights, message):
    with pytest.raises(UserError, match=message):
        LORA.attach(pipe, save(tmp_path, weights))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "is an adapter of peft without its adapter_config.json"),
        (dict(peft_type="OFT"), "adapter_config.json is of the kind OFT; adapters of LOHA, LOKR, LORA"),
        (dict(r=7), "size mismatch"),
        (dict(target_modules=["to_q"]), "it holds 2 tensors, its layers take 28"),
        (dict(target_modules=["nothing"]), "Target modules .* not found"),
    ],
)
def test_an_adapter_folder_that_does_not_fit_is_refused(pipe, tmp_path, settings, message):
    layer = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    plain = dict(peft_type="LORA", r=4, lora_alpha=4, target_modules=[layer])
    path = save(tmp_path, lora(prefix="base_model.model."), **{**plain, **settings} if settings else {})
    with pytest.raises(UserError, match=message):
        LORA.attach(pipe, path)


@pytest.mark.parametrize(("content", "kind"), [(POINTER, "a git-LFS pointer"), (PAGE, "an HTML page"), (b"", "empty")])
def test_a_file_that_is_none_is_named(pipe, tmp_path, content, kind):
    (tmp_path / "lora.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=f"lora.safetensors cannot be read as a LoRA .* it seems to be .*{kind}"):
        LORA.attach(pipe, tmp_path / "lora.safetensors")


def test_a_cut_file_and_a_pickle_of_that_name_are_told(pipe, tmp_path):
    path = save(tmp_path, lora())
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="a safetensors file that is cut short"):
        LORA.attach(pipe, path)
    torch.save(lora(), path)
    with pytest.raises(UserError, match="is a pickle, which can run code"):
        LORA.attach(pipe, path)
    (tmp_path / "adapter_config.json").write_bytes(POINTER)
    with pytest.raises(UserError, match="adapter_config.json cannot be read .* a git-LFS pointer"):
        LORA.attach(pipe, save(tmp_path, lora(prefix="base_model.model."), "adapter_model.safetensors"))
    named = Path(shutil.copy(save(tmp_path, lora()), tmp_path / "lora.bin"))
    with pytest.raises(UserError, match="rename it to lora.safetensors"):
        LORA.attach(pipe, named)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("half", [True, False])
def test_values_that_are_not_finite_are_told_when_the_file_is_loaded(pipe, tmp_path, value, half):
    weights = lora()
    name = sorted(weights)[-1]
    weights[name] = weights[name].clone()
    weights[name].view(-1)[3] = value
    path = save(tmp_path, {n: t.half() if half else t for n, t in weights.items()})
    with pytest.raises(UserError, match=rf"safetensors holds values that are not finite .* in 1 of .*{name}"):
        LORA.attach(pipe, path)
