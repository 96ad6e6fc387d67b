"""Extractors: each network's own reference, preprocessing, the cache, and work shared by processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from generators import run_to_end
from huggingface_hub import constants
from PIL import Image
from torchvision.transforms.functional import normalize, to_tensor

from busaug_core.classify.model import Classifier
from busaug_core.errors import MissingWeights, UserError
from busaug_core.features import cache as features_module
from busaug_core.features.cache import FeatureCache, extract
from busaug_core.features.extractors import ClassifierFeatures, make_extractor
from busaug_core.features.imagenet import headless
from busaug_core.features.inception import INCEPTION_FILE
from busaug_core.images import load_gray
from busaug_core.jobs.events import Progress
from busaug_core.jobs.run import Run, run_of
from busaug_core.measure.embeddings import FILE as FEATURES
from busaug_core.records import write_records
from busaug_core.registry import job

CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "trial/runs/measure"
    folder.mkdir(parents=True)
    return Run(folder)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Files of several sizes, gray and coloured."""
    folder, rng, paths = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0), []
    for i, (height, width) in enumerate([(90, 120), (310, 400), (310, 400), (299, 299)]):
        coarse = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
        picture = coarse.resize((width, height), Image.Resampling.BICUBIC)
        paths.append(str(folder / f"{i}.png"))
        (picture.convert("L") if i % 2 else picture).save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def transformers_folder(tmp_path_factory):
    """Small networks of the real classes with random weights: `dinov2`, `clip` (vision alone), `clip-both`."""
    import transformers as t

    folder = tmp_path_factory.mktemp("transformers")
    torch.manual_seed(0)
    small = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, patch_size=28)
    vision = dict(**small, intermediate_size=64, projection_dim=24, image_size=112)
    text = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50)
    t.Dinov2Model(t.Dinov2Config(**small, image_size=518)).save_pretrained(folder / "dinov2-tiny")
    t.CLIPVisionModelWithProjection(t.CLIPVisionConfig(**vision)).save_pretrained(folder / "clip")
    both = t.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    t.CLIPModel(both).save_pretrained(folder / "clip-both")
    return folder


@pytest.mark.parametrize(
    ("name", "width", "metric"),
    [
        ("inception", 2048, "FD (Inception, other weights)"),
        ("inception-64", 64, "FD (Inception, other weights) (64 features)"),
        ("inception-192", 192, "FD (Inception, other weights) (192 features)"),
        ("inception-768", 768, "FD (Inception, other weights) (768 features)"),
    ],
)
def test_legacy_features_equal_pytorch_fids_from_the_file_on(
    name, width, metric, run, inception_home, pictures, monkeypatch
):
    from pytorch_fid.fid_score import get_activations
    from pytorch_fid.inception import InceptionV3

    monkeypatch.setenv("TORCH_HOME", str(inception_home))
    network = InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[width]])
    theirs = get_activations(pictures, network, batch_size=1, dims=width, num_workers=0)
    extractor = make_extractor(name, run, CPU, "legacy")
    ours = extractor([extractor.load(path) for path in pictures])
    assert ours.shape == (4, width) and ours.dtype == np.float32
    assert np.allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())
    assert (extractor.name, extractor.metric) == (f"{name.replace('-', '_')}_legacy", metric)


def test_legacy_pixels_equal_pytorch_fids_and_the_canonical_ones_are_gray_and_antialiased(
    run, inception_home, pictures, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(inception_home))
    legacy = make_extractor("inception-64", run, CPU, "legacy")
    canonical = make_extractor(f"inception-64:{inception_home}/hub/checkpoints/{INCEPTION_FILE}", run, CPU)
    for path in pictures:
        batch = to_tensor(Image.open(path).convert("RGB"))[None]
        theirs = torch.nn.functional.interpolate(batch, size=(299, 299), mode="bilinear", align_corners=False)
        assert torch.equal(legacy.prepare([legacy.load(path)]), theirs)
        gray = torch.from_numpy(load_gray(path, 299).copy()).float() / 255
        assert torch.equal(canonical.prepare([canonical.load(path)]), gray.expand(1, 3, -1, -1))
    assert canonical.preprocessing == "gray, whole image to a square, Pillow bicubic with antialiasing, 299 px"
    assert legacy.preprocessing.startswith("pytorch-fid's") and legacy.weights == canonical.weights


def test_embeddings_by_pytorch_fids_preprocessing_are_kept_apart(records, inception_home, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(inception_home))
    for preprocessing, name in (("canonical", "inception_64"), ("legacy", "inception_64_legacy")):
        values = dict(extractor="inception-64", preprocessing=preprocessing, run_key=name)
        result = list(job("compute_embeddings").run(values, records[:2], "trial", tmp_path))[-1].result
        assert result["field"] == f"features_{name}"
    one, other = (np.load(run_of("trial", key, tmp_path).folder / FEATURES) for key in ("inception_64", name))
    assert one.shape == other.shape == (2, 64) and np.abs(one - other).max() > 1e-3


def test_dinov2_is_the_class_token_and_clip_the_projected_image(run, transformers_folder, pictures):
    from transformers import CLIPVisionModelWithProjection, Dinov2Model

    dinov2 = make_extractor(f"dinov2:{transformers_folder}/dinov2-tiny", run, CPU)
    clip = make_extractor(f"clip:{transformers_folder}/clip", run, CPU)
    both = make_extractor(f"clip:{transformers_folder}/clip-both", run, CPU)
    assert [e.name for e in (dinov2, clip, both)] == ["dinov2_tiny", "clip", "clip_both"]
    assert [e.metric for e in (dinov2, clip, both)] == ["FD (dinov2_tiny)", "FD (clip)", "FD (clip_both)"]
    assert [e.resolution for e in (dinov2, clip, both)] == [224, 112, 112]
    with torch.no_grad():
        network = Dinov2Model.from_pretrained(transformers_folder / "dinov2-tiny").eval()
        gray = np.stack([load_gray(path, 224) for path in pictures]) / np.float32(255)
        colour = torch.from_numpy(gray)[:, None].expand(-1, 3, -1, -1)
        expected = network(normalize(colour, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))).pooler_output.numpy()
        assert np.allclose(dinov2([dinov2.load(path) for path in pictures]), expected, atol=1e-5)
        for extractor, folder in ((clip, "clip"), (both, "clip-both")):
            network = CLIPVisionModelWithProjection.from_pretrained(transformers_folder / folder).eval()
            gray = np.stack([load_gray(path, 112) for path in pictures]) / np.float32(255)
            colour = torch.from_numpy(gray)[:, None].expand(-1, 3, -1, -1)
            own = normalize(colour, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
            expected = network(own).image_embeds.numpy()
            assert np.allclose(extractor([extractor.load(path) for path in pictures]), expected, atol=1e-5)


def test_a_folder_of_another_network_or_of_pickles_is_refused(run, transformers_folder, tmp_path):
    with pytest.raises(UserError, match="holds no Dinov2Model"):
        make_extractor(f"dinov2:{transformers_folder}/clip", run, CPU)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(MissingWeights, match="holds no model.safetensors; pickles are not read"):
        make_extractor(f"clip:{tmp_path}", run, CPU)


@pytest.mark.parametrize("name", ["dinov2", "clip:openai/clip-vit-base-patch32"])
def test_hub_weights_that_are_not_here_are_missing_and_it_is_said_what_to_do(run, name, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match=f"name its folder as in '{name.partition(':')[0]}:/path', or unset HF"):
        make_extractor(name, run, CPU)


@pytest.mark.parametrize(
    ("arch", "width"),
    [
        ("resnet18", 512),
        ("densenet121", 1024),
        ("efficientnet_b0", 1280),
        ("convnext_tiny", 768),
        ("squeezenet1_1", 512),
        ("mobilenet_v3_small", 1024),
        ("swin_t", 768),
        ("vit_b_32", 768),
    ],
)
def test_the_penultimate_layer_of_any_torchvision_classifier_is_found(arch, width):
    with torch.device("meta"):
        network = headless(torchvision.models.get_model(arch, weights=None).eval())
        assert network(torch.zeros(2, 3, 224, 224)).shape == (2, width)


def test_a_torchvision_classifier_takes_its_weights_from_the_torch_cache(run, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingWeights, match="Put torchvision's file squeezenet1_1-b8a52dc0.pth into"):
        make_extractor("torchvision:squeezenet1_1", run, CPU)
    torch.manual_seed(0)
    network = torchvision.models.squeezenet1_1(weights=None).eval()
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    torch.save(network.state_dict(), tmp_path / "hub/checkpoints/squeezenet1_1-b8a52dc0.pth")
    extractor = make_extractor("torchvision:squeezenet1_1", run, CPU)
    assert (extractor.name, extractor.metric, extractor.resolution) == ("squeezenet1_1", "FD (squeezenet1_1)", 224)
    images = [extractor.load(path) for path in pictures]
    colour = torch.from_numpy(np.stack(images))[:, None].expand(-1, 3, -1, -1).float() / 255
    with torch.no_grad():
        maps = network.features(normalize(colour, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert np.allclose(extractor(images), maps.mean((2, 3)).numpy(), atol=1e-5)


def test_inception_weights_are_downloaded_once_where_that_is_allowed(run, tmp_path, monkeypatch):
    from pytorch_fid import inception

    tried = []

    def fail(url, **_):
        tried.append(url)
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(inception, "load_state_dict_from_url", fail)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MissingWeights, match=rf"HF_HUB_OFFLINE is set.*Put pytorch-fid's {INCEPTION_FILE} into"):
        make_extractor("inception", run, CPU)
    assert tried == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(MissingWeights, match="no network"):
        make_extractor("inception", run, CPU)
    assert tried == [inception.FID_WEIGHTS_URL]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dino", "no extractor 'dino'; there are inception, .*clip, torchvision:resnet50 .*runs of this dataset: none"),
        ("torchvision:resnet99", "torchvision has no classifier 'resnet99'"),
        ("inception:/nowhere.pth", "no file /nowhere.pth"),
    ],
)
def test_an_unknown_extractor_is_refused_with_what_there_is(name, message, run):
    with pytest.raises(UserError, match=message):
        make_extractor(name, run, CPU)


def test_weights_of_another_network_or_no_weights_are_no_inception(run, tmp_path):
    torch.save({"layer": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="other layers than pytorch-fid's Inception"):
        make_extractor(f"inception:{tmp_path}/other.pth", run, CPU)
    (tmp_path / "text.pth").write_text("Not found")
    with pytest.raises(UserError, match="no weights that can be read"):
        make_extractor(f"inception:{tmp_path}/text.pth", run, CPU)


def test_only_inception_has_a_legacy_preprocessing(run):
    with pytest.raises(UserError, match="'dinov2' has none"):
        make_extractor("dinov2", run, CPU, "legacy")
    with pytest.raises(UserError, match="no preprocessing 'clean'; there are canonical and legacy"):
        make_extractor("inception", run, CPU, "clean")


@pytest.fixture
def extractor(run):
    """A classifier with random weights, as a finished run would have left it."""
    folder = run.sibling("clf").folder
    folder.mkdir()
    torch.manual_seed(0)
    Classifier("resnet18", ["benign", "malignant"], 32).eval().save(folder)
    write_records(folder / "inputs.jsonl", [])
    return ClassifierFeatures(run.sibling("clf"), CPU)


def test_features_are_blind_to_batch_size_and_order(records, extractor, run, transformers_folder):
    tiny = make_extractor(f"dinov2:{transformers_folder}/dinov2-tiny", run, CPU)
    for chosen in (extractor, tiny):
        images = [chosen.load(r.path) for r in records]
        one_by_one = np.concatenate([chosen([image]) for image in images])
        assert np.allclose(chosen(images), one_by_one, atol=1e-4)
        assert np.allclose(chosen(images[::-1]), one_by_one[::-1], atol=1e-4)


def test_features_are_computed_once_and_come_in_the_records_order(records, extractor, run, monkeypatch):
    found, events = run_to_end(extract([*records, records[0]], extractor, run, 4))
    first, hashes = found.matrix, found.hashes
    assert first.shape == (len(records) + 1, 512) and first.dtype == np.float32
    assert events[-1] == Progress(len(records), len(records), "Computing features")
    assert hashes[0] == hashes[-1] and np.array_equal(first[0], first[-1])
    expected = extractor([extractor.load(r.path) for r in records])
    assert np.allclose(first[:-1], expected, atol=1e-4)
    monkeypatch.setattr(ClassifierFeatures, "load", lambda *_: pytest.fail("computed a second time"))
    again, events = run_to_end(extract(records[::-1], extractor, run, 4))
    assert np.array_equal(again.matrix, first[-2::-1]) and events == []
    assert np.array_equal(again.of(records[3:5]), first[3:5])


def test_mirrored_features_are_those_of_the_mirrored_image(records, extractor, run):
    plain, _ = run_to_end(extract(records, extractor, run, 4))
    mirrored, _ = run_to_end(extract(records, extractor, run, 4, mirrored=True))
    expected = extractor([extractor.load(r.path)[:, ::-1] for r in records])
    assert mirrored.hashes == plain.hashes and np.allclose(mirrored.matrix, expected, atol=1e-4)
    assert np.abs(mirrored.matrix - plain.matrix).max() > 0.01


def test_what_a_stopped_run_computed_is_kept(records, extractor, run):
    work = extract(records, extractor, run, 2)
    for _ in range(3):
        next(work)
    work.close()
    _, events = run_to_end(extract(records, extractor, run, 2))
    assert events[0].total == len(records) - 6


def test_saving_adds_files_and_rewrites_none(records, extractor, run, monkeypatch):
    monkeypatch.setattr(features_module, "FILE_ROWS", 5)
    run_to_end(extract(records[:10], extractor, run, 1))
    folder = FeatureCache(run, extractor).folder
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(before) == 2
    run_to_end(extract(records, extractor, run, 1))
    after = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(after) == 3 and before.items() <= after.items()


def test_each_preprocessing_and_each_weights_have_a_cache_of_their_own(run, extractor):
    class Other(ClassifierFeatures):
        preprocessing = "another"

    other = Other(run.sibling("clf"), CPU)
    assert other.weights == extractor.weights
    assert FeatureCache(run, other).folder != FeatureCache(run, extractor).folder
    extractor.weights = "0" * 64
    assert FeatureCache(run, ClassifierFeatures(run.sibling("clf"), CPU)).folder != FeatureCache(run, extractor).folder


def test_a_damaged_cache_file_is_named(records, extractor, run):
    run_to_end(extract(records[:2], extractor, run, 2))
    path = next(FeatureCache(run, extractor).folder.iterdir())
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=f"{path.name} is damaged; delete it"):
        FeatureCache(run, extractor)


SHARED = """
import json, sys
from pathlib import Path
import numpy as np
from accelerate import PartialState
from busaug_core.records import read_records
from busaug_core.jobs.run import Run
from busaug_core.features.extractors import ClassifierFeatures
from busaug_core.features.cache import extract

processes, run = PartialState(cpu=True), Run(Path(sys.argv[1]))
extractor, events = ClassifierFeatures(run.sibling("clf"), processes.device), []
work = extract(read_records(sys.argv[2]), extractor, run, 2)
while True:
    try:
        events.append(next(work))
    except StopIteration as end:
        features = end.value
        break
if run.is_main:
    np.save(run.folder / "shared.npy", features.matrix)
    (run.folder / "hashes.json").write_text(json.dumps(features.hashes))
(run.folder / f"rows{processes.process_index}").write_text(f"{events[-1].total} {features is not None}")
"""


def test_two_processes_give_the_features_of_one(records, extractor, run, tmp_path):
    script = tmp_path / "shared.py"
    script.write_text(SHARED)
    write_records(tmp_path / "inputs.jsonl", records)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]  # as accelerate launch does
    command = [sys.executable, *launch, str(script), str(run.folder), str(tmp_path / "inputs.jsonl")]
    root = Path(features_module.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = [(run.folder / f"rows{i}").read_text() for i in range(2)]
    assert rows == [f"{(len(records) + 1) // 2} True", f"{len(records) // 2} False"]
    shared = np.load(run.folder / "shared.npy")
    files = list(FeatureCache(run, extractor).folder.iterdir())
    assert len(files) == 2
    for path in files:
        path.unlink()
    alone, _ = run_to_end(extract(records, extractor, run, 2))
    assert np.allclose(shared, alone.matrix, atol=1e-5)
    assert json.loads((run.folder / "hashes.json").read_text()) == alone.hashes
