"""The training of mini: its parts against closed forms, and the whole recipe at a tiny size."""

import copy
import random

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from busaug_core.errors import UserError
from busaug_core.pretrain import autoencoder, diffusion, export, measures, steps, text
from busaug_core.pretrain.train_mini import STAGES, MiniConfig, Training
from busaug_core.prompts import BUSI_PROMPTS

TINY = dict(
    threads=1,
    phantoms=6,
    held_out=4,
    autoencoder_steps=4,
    decoder_steps=7,
    styled=3,
    diffusion_steps=4,
    checkpoint_every=2,
    snapshot_every=2,
    samples=2,
    sampling_steps=2,
    recogniser_epochs=1,
)


@pytest.fixture(scope="module")
def tokenizer():
    return text.build_tokenizer()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run at a tiny size: its config and its events."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("mini")
    config = MiniConfig(out=folder / "mini", work=folder / "work", snapshot=folder / "snapshot", **TINY)
    return config, list(Training(config).run())


@pytest.mark.parametrize("label", text.CLASSES)
def test_every_word_of_every_caption_is_one_token(tokenizer, label):
    wording = random.Random(0)
    captions = [text.caption(label, a, wording) for a in ("", *text.ADJECTIVES) for _ in range(9)]
    for caption in [BUSI_PROMPTS[label], *captions]:
        words = caption.lower().replace("-", " - ").split()
        assert tokenizer.tokenize(caption) == [w + "</w>" for w in words]


def test_unknown_words_fall_apart_into_known_pieces(tokenizer):
    ids = tokenizer("zyx é 7").input_ids
    assert max(ids) < len(tokenizer) and len(ids) == 2 + 3 + 2 + 1


def test_the_tokenizer_survives_saving(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    prompt = "Bright ultrasound image of xyz"
    assert again(prompt).input_ids == tokenizer(prompt).input_ids
    assert again.model_max_length == 77


def test_start_end_and_padding_agree_between_tokenizer_and_text_encoder(tokenizer):
    config = text.build_text_encoder(tokenizer, 0).config
    ids = text.tokenize(tokenizer, ["a"])[0]
    assert ids.shape == (77,)
    assert ids[0] == config.bos_token_id
    assert set(ids[2:].tolist()) == {config.eos_token_id} == {config.pad_token_id}
    assert config.vocab_size == len(tokenizer)


def test_whitening_changes_the_latents_but_not_the_image():
    vae = autoencoder.build_autoencoder(0).eval()
    torch.nn.init.normal_(vae.quant_conv.weight[:4])
    images = torch.randint(0, 256, (8, 32, 32), dtype=torch.uint8)
    device = torch.device("cpu")
    before = measures.reconstruct(vae, images, device)
    with torch.no_grad():
        latents = vae.encode(autoencoder.to_input(images)).latent_dist.mean
        autoencoder.fold_whitening(vae, **autoencoder.whitening(latents))
        white = vae.encode(autoencoder.to_input(images)).latent_dist.mean
    found = autoencoder.whitening(white)
    torch.testing.assert_close(found["mean"], torch.zeros(4).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(found["covariance"], torch.eye(4).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(measures.reconstruct(vae, images, device), before, atol=1e-4, rtol=0)


@pytest.mark.parametrize("loss", [autoencoder.statistic_loss, autoencoder.spectral_loss])
def test_texture_losses_ask_for_the_same_texture_not_the_same_pixels(loss):
    noise, other = torch.randn(2, 4, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.3
    assert loss(noise, noise) == 0
    assert loss(other, noise) < 0.5 * loss(autoencoder.low_pass(noise), noise)


def test_band_powers_find_a_grating_in_its_band():
    x = torch.arange(128.0)
    for cycles, band in ((0.2, ".125-.25"), (0.4, ">.25")):
        powers = measures.band_powers((0.5 + 0.4 * torch.sin(2 * torch.pi * cycles * x)).expand(1, 128, 128))
        assert powers[band] > 0.999 * sum(powers.values())


def test_the_prompt_gap_is_zero_for_a_unet_that_ignores_the_text(tokenizer):
    unet, encoder = diffusion.build_unet(0), text.build_text_encoder(tokenizer, 0)
    latents = torch.randn(2, 4, 16, 16)
    gap = measures.prompt_gap(unet, encoder, tokenizer, latents, torch.device("cpu"))
    assert all(value > 0 for value in gap.values())
    for name, weight in unet.named_parameters():
        if "attn2.to_v" in name:
            torch.nn.init.zeros_(weight)
    gap = measures.prompt_gap(unet, encoder, tokenizer, latents, torch.device("cpu"))
    assert all(value == 0 for value in gap.values())


def test_captions_name_the_class_and_only_adjectives_that_were_applied(tokenizer):
    count = 3 * len(diffusion.STYLES)
    labels = torch.arange(3).repeat(len(diffusion.STYLES))
    styles = torch.arange(len(diffusion.STYLES)).repeat_interleave(3)
    marks = (labels * 10 + styles).float().view(count, 1, 1, 1).expand(-1, 4, 2, 2)
    latents, captions = diffusion.Corpus(marks, labels, styles).batch(400, 0, (0.3, 0.4, 0.3))
    for mark, caption in zip(latents[:, 0, 0, 0].int().tolist(), captions, strict=True):
        label, style = text.CLASSES[mark // 10], diffusion.STYLES[mark % 10]
        assert caption == "" or label in caption or (label == "normal" and "no tumor" in caption)
        assert caption.startswith(style)
    assert 0.05 < captions.count("") / 400 < 0.15
    assert 0.63 < sum(c in BUSI_PROMPTS.values() for c in captions) / 400 < 0.77


def test_the_stages_leave_a_loadable_model_of_at_most_20_megabytes(trained):
    config, _ = trained
    assert sum(f.stat().st_size for f in config.out.rglob("*")) < 20e6
    pipe = StableDiffusionPipeline.from_pretrained(config.out, safety_checker=None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    images = pipe("ultrasound image", num_inference_steps=2, output_type="np").images
    assert images.shape == (1, 128, 128, 3)
    assert (images[..., 0] == images[..., 1]).all() and (images[..., 1] == images[..., 2]).all()


def test_the_weights_are_half_precision_safetensors_and_nothing_is_pickled(trained):
    config, _ = trained
    weights = list(config.out.rglob("*.safetensors"))
    assert len(weights) == 3
    for file in weights:
        assert {t.dtype for t in load_file(file).values() if t.is_floating_point()} == {torch.float16}
    assert {f.suffix for f in config.out.rglob("*") if f.is_file()} == {".safetensors", ".json", ".md"}


def test_the_card_states_recipe_measurements_and_limits(trained):
    config, _ = trained
    card = (config.out / "README.md").read_text()
    for words in ("Not for clinical use", '"decoder_steps": 7', '"prompt_gap"', '"recognised"'):
        assert words in card


def test_events_name_stage_and_progress_of_every_stage(trained):
    _, events = trained
    assert list(dict.fromkeys(e["stage"] for e in events)) == list(STAGES)
    assert all(0 <= e["step"] <= e["steps"] for e in events)


def test_snapshots_are_loadable_folders(trained):
    config, events = trained
    assert any("prompt_gap" in e for e in events if e["stage"] == "diffusion")
    assert (config.snapshot / "model_index.json").exists()


def test_a_finished_stage_does_nothing_when_started_again(trained):
    config, _ = trained
    before = load_file(config.work / "diffusion.safetensors")
    assert list(Training(config).run(("diffusion",))) == []
    after = load_file(config.work / "diffusion.safetensors")
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_a_work_folder_of_other_settings_is_refused(trained):
    config, _ = trained
    with pytest.raises(UserError, match="config.json is of a training with other settings"):
        next(Training(config.model_copy(update={"seed": 1})).run())
    assert list(Training(config.model_copy(update={"samples": 3})).run(("diffusion",))) == []


def test_a_run_stopped_halfway_continues_to_the_same_weights(trained, tmp_path):
    config, _ = trained
    images, _ = Training(config).scans("train")
    stage = autoencoder.Stage(4, 1e-3, 2, 0.5, 0, 2)
    device = torch.device("cpu")

    def weights(name: str, stop: int | None):
        vae = autoencoder.build_autoencoder(0)
        events = autoencoder.train_autoencoder(vae, images, stage, tmp_path / name, device)
        for event in events:
            if event["step"] == stop:
                break
        events.close()
        return copy.deepcopy(vae.state_dict())

    whole = weights("whole.pt", None)
    weights("parts.pt", 3)
    assert torch.load(tmp_path / "parts.pt", weights_only=True)["step"] == 2
    parts = weights("parts.pt", None)
    assert all(torch.equal(whole[k], parts[k]) for k in whole)


def test_an_atomic_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def broken(temporary):
        temporary.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        steps.atomically(path, broken)
    assert path.read_text() == "old"


def test_an_unknown_field_is_an_error():
    with pytest.raises(ValueError, match="epochs"):
        MiniConfig(epochs=3)


def test_the_card_template_has_no_field_left_open():
    assert "{" not in export.CARD.format_map(_Anything()).replace("{json", "")


class _Anything(dict):
    def __missing__(self, key):
        return "x"
