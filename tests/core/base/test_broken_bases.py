"""Bases whose files are not what their names say: a sentence with the file, before anything is loaded or trained."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from foreign_base import PAGE, POINTER, TEXT, UNET, VAE, linked, put
from safetensors.torch import load_file, save_file

from busaug_core.base.defaults import place_of
from busaug_core.base.loading import fingerprint, load_pipeline
from busaug_core.errors import MissingWeights, UserError

CPU = torch.device("cpu")


def load(place):
    return load_pipeline(str(place), CPU, torch.float32)


@pytest.fixture
def folder(base, tmp_path):
    return Path(linked(base, tmp_path / "base"))


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "unet/config.json",
        UNET,
        "vae/config.json",
        VAE,
        "text_encoder/config.json",
        TEXT,
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
        "scheduler/scheduler_config.json",
    ],
)
@pytest.mark.parametrize(("content", "kind"), [(POINTER, "a git-LFS pointer"), (PAGE, "an HTML page")])
def test_a_pointer_or_a_page_in_place_of_any_file_is_named(folder, name, content, kind):
    put(folder / name, content)
    with pytest.raises(UserError, match=f"{name} cannot be read as .*; it seems to be {kind}"):
        load(folder)


def test_a_cut_file_an_empty_one_and_a_pickle_are_named(folder, base):
    put(folder / UNET, (Path(base) / UNET).read_bytes()[:200_000])
    with pytest.raises(UserError, match=f"{UNET} cannot be read as .* a safetensors file that is cut short"):
        load(folder)
    put(folder / UNET, b"")
    with pytest.raises(UserError, match=f"{UNET} cannot be read as .* an empty file"):
        load(folder)
    (folder / UNET).unlink()
    torch.save({"weight": torch.zeros(1)}, folder / UNET)
    with pytest.raises(UserError, match=f"{UNET} is a pickle, .* Convert it to safetensors first"):
        load(folder)


def test_a_vocabulary_of_two_files_is_looked_at_too(folder):
    put(folder / "tokenizer/merges.txt", POINTER)
    with pytest.raises(UserError, match="merges.txt should be a vocabulary; it seems to be a git-LFS pointer"):
        load(folder)


@pytest.mark.parametrize(
    ("there", "other", "kind"), [(UNET, VAE, "an autoencoder"), (VAE, UNET, "a UNet"), (TEXT, UNET, "a UNet")]
)
def test_weights_of_another_part_are_refused_and_not_filled_up_at_random(folder, base, there, other, kind):
    (folder / there).unlink()
    shutil.copy(Path(base) / other, folder / there)
    with pytest.raises(UserError, match=f"{there} lacks .* it seems to be {kind}"):
        load(folder)


def test_weights_of_other_sizes_than_the_configuration_are_refused(folder):
    put(folder / "unet/config.json", {"block_out_channels": [32, 32, 96]})
    with pytest.raises(UserError, match="unet holds no weights of the UNet2DConditionModel that its config.json"):
        load(folder)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(folder, part):
    shutil.rmtree(folder / part)
    with pytest.raises(UserError, match=f"{part}|tokenizer or the scheduler|tokenizer without a vocabulary"):
        load(folder)


def test_a_base_of_pickles_alone_is_refused_with_the_way_out(folder):
    for name in (UNET, VAE, TEXT):
        (folder / name).rename((folder / name).with_suffix(".bin"))
    with pytest.raises(MissingWeights, match=r"only pickles \(diffusion_pytorch_model.bin\); convert"):
        load(folder)


@pytest.mark.parametrize("parts", [(UNET, VAE, TEXT), (UNET,), (TEXT,)])
def test_a_base_with_files_of_half_precision_alone_is_loaded_and_these_are_what_is_hashed(folder, base, parts):
    for name in parts:
        (folder / name).rename((folder / name).with_suffix(".fp16.safetensors"))
    pipe, plain = load(folder), load(base)
    for part in ("unet", "vae", "text_encoder"):
        weights, others = getattr(pipe, part).state_dict(), getattr(plain, part).state_dict()
        assert all(torch.equal(weights[name], others[name]) for name in others)
    assert sum(".fp16" in name for name in fingerprint(str(folder))) == len(parts)
    assert sorted(fingerprint(str(folder)).values()) == sorted(fingerprint(base).values())


def test_a_cached_hub_id_of_half_precision_alone_is_loaded(base, tmp_path, monkeypatch):
    commit = "a" * 40
    folder = Path(linked(base, tmp_path / f"models--some--base/snapshots/{commit}"))
    (tmp_path / "models--some--base/refs").mkdir()
    (tmp_path / "models--some--base/refs/main").write_text(commit)
    for name in (UNET, VAE, TEXT):
        (folder / name).rename((folder / name).with_suffix(".fp16.safetensors"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert load("some/base").unet.config.in_channels == 4
    assert all(".fp16" in name for name in fingerprint("some/base"))
    put(folder / "model_index.json", {"_class_name": "FluxPipeline"})
    with pytest.raises(UserError, match="some/base is a base of another kind .FluxPipeline"):
        load("some/base")


def test_older_names_of_tensors_are_known(folder, base):
    """A text encoder's as they were before its model was flattened, with its positions among them."""
    weights = {f"text_model.{name}": tensor for name, tensor in load_file(Path(base) / TEXT).items()}
    (folder / TEXT).unlink()
    save_file({**weights, "text_model.embeddings.position_ids": torch.arange(77)[None]}, folder / TEXT)
    other, plain = load(folder).text_encoder.state_dict(), load(base).text_encoder.state_dict()
    assert all(torch.equal(other[name], plain[name]) for name in plain)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"unet.conv_in.lora_A.weight": (4, 4)}, "is no base model: it seems to be a LoRA"),
        ({"emb_params": (1, 768)}, "is no base model: it seems to be a learned token"),
        ({"time_embedding.linear_1.weight": (4, 4)}, "is no base model: it seems to be a UNet"),
        ({"network.fc.weight": (3, 4)}, "is no base model: it seems to be something else .*network.fc.weight"),
        ({"model.diffusion_model.input_blocks.0.0.weight": (8, 9, 3, 3)}, r"of another kind \(inpainting\)"),
        (
            {
                "model.diffusion_model.input_blocks.0.0.weight": (8, 4, 3, 3),
                "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias": (3,),
            },
            r"of another kind \(xl_base\)",
        ),
    ],
)
def test_a_single_file_is_told_by_its_header(tmp_path, shapes, message):
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "one.safetensors")
    with pytest.raises(UserError, match=message):
        load(tmp_path / "one.safetensors")


@pytest.mark.parametrize(("content", "kind"), [(POINTER, "a git-LFS pointer"), (b"\xff\xd8\xff\xe0" * 9, "a JPEG")])
def test_a_single_file_that_is_none_is_named(tmp_path, content, kind):
    (tmp_path / "one.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=f"one.safetensors cannot be read as a base model.* it seems to be {kind}"):
        load(tmp_path / "one.safetensors")


def test_a_folder_of_something_else_and_a_path_that_is_not_there_are_told(folder):
    with pytest.raises(UserError, match="unet has no model_index.json, so it is no diffusers folder"):
        load(folder / "unet")
    with pytest.raises(MissingWeights, match="There is no file or folder .*nothing"):
        load(folder / "nothing")
    with pytest.raises(MissingWeights, match="'some/base' is neither a file nor a folder, and cannot be had"):
        load("some/base")


def test_a_broken_base_is_told_before_a_training_begins(run_job, records, folder, tmp_path):
    put(folder / "unet/config.json", POINTER)
    with pytest.raises(UserError, match="it seems to be a git-LFS pointer"):
        run_job("train_lora", records, base_model=str(folder), run_key="lora")
    put(folder / "unet/config.json", (Path(folder) / "vae/config.json").read_bytes())
    with pytest.raises(UserError, match="unet holds no weights of the UNet2DConditionModel"):
        run_job("train_lora", records, base_model=str(folder), run_key="lora")
    assert not (tmp_path / "trial/runs/lora").exists()


@pytest.mark.parametrize(("file", "part"), [(UNET, "unet"), (VAE, "vae"), (TEXT, "text_encoder")])
def test_a_base_whose_weights_are_not_finite_is_refused(folder, file, part):
    weights = load_file(folder / file)
    name = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    weights[name] = torch.full_like(weights[name], float("nan"))
    (folder / file).unlink()
    save_file(weights, folder / file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=f"its {part}, holds values that are not finite .* such as"):
        load(folder)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("/nowhere/sd15", "There is no file or folder /nowhere/sd15"),
        ("./sd15", "There is no file or folder"),
        ("minni", "There is no file or folder minni. Give a diffusers folder"),
        ("{tmp}/empty", "has no model_index.json"),
        ("{tmp}/page.safetensors", "page.safetensors cannot be read as a base model; it seems to be an HTML page"),
        ("{tmp}/old.ckpt", "old.ckpt is a pickle"),
    ],
)
def test_what_is_no_base_is_told_without_torch(tmp_path, given, told):
    (tmp_path / "empty").mkdir()
    (tmp_path / "page.safetensors").write_bytes(PAGE)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "old.ckpt")
    with pytest.raises(UserError, match=told):
        place_of(given.format(tmp=tmp_path))
    assert place_of("some/base") is None
    code = (
        "import sys; from busaug_core.base import defaults as d; d.place_of('mini'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
