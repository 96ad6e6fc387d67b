"""A FiftyOne of the tests' own: its own mongod, plugins folder, datasets and runs, all gone afterwards."""

import atexit
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TMP = Path(tempfile.mkdtemp(prefix="busaug-test-"))


def _start_mongod() -> str:
    package = importlib.util.find_spec("fiftyone").submodule_search_locations[0]
    program = shutil.which("mongod", path=f"{package}/db/bin") or shutil.which("mongod")
    if program is None:
        raise RuntimeError("FiftyOne's MongoDB is not installed; run `make setup`.")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    (TMP / "db").mkdir()
    place = ["--dbpath", str(TMP / "db"), "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket"]
    place += ["--logpath", str(TMP / "mongod.log")]
    server = subprocess.Popen([program, *place], stdout=subprocess.DEVNULL)

    def stop() -> None:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        shutil.rmtree(TMP, ignore_errors=True)

    atexit.register(stop)  # before fiftyone is imported, so that it runs after fiftyone's own exit hook
    return f"mongodb://127.0.0.1:{port}"


(TMP / "plugins").mkdir()
(TMP / "plugins" / "busaug").symlink_to(ROOT, target_is_directory=True)
for name in [n for n in os.environ if n.startswith("FIFTYONE_")]:
    del os.environ[name]
os.environ.update(
    FIFTYONE_DATABASE_URI=_start_mongod(),
    FIFTYONE_DATABASE_NAME="busaug_test",
    FIFTYONE_DATABASE_VALIDATION="false",
    FIFTYONE_PLUGINS_DIR=str(TMP / "plugins"),
    FIFTYONE_DEFAULT_DATASET_DIR=str(TMP / "data"),
    FIFTYONE_CONFIG_PATH=str(TMP / "config.json"),
    FIFTYONE_APP_CONFIG_PATH=str(TMP / "app_config.json"),
    FIFTYONE_DO_NOT_TRACK="1",
    FIFTYONE_SHOW_PROGRESS_BARS="false",
    BUSAUG_HOME=str(TMP / "home"),
    HF_HUB_OFFLINE="1",
)
sys.path.insert(0, str(ROOT))


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A diffusers folder of mini's architecture with random weights; its UNet is half as wide, and twice as fast."""
    from diffusers import UNet2DConditionModel

    from busaug_core.pretrain.autoencoder import build_autoencoder
    from busaug_core.pretrain.diffusion import build_unet
    from busaug_core.pretrain.export import export
    from busaug_core.pretrain.text import build_text_encoder, build_tokenizer

    folder = tmp_path_factory.mktemp("base") / "random"
    tokenizer = build_tokenizer()
    narrow = dict(block_out_channels=(32, 32, 64), attention_head_dim=(1, 1, 2))
    unet = UNet2DConditionModel.from_config({**build_unet(0).config, **narrow})
    models = build_autoencoder(0), unet, build_text_encoder(tokenizer, 0)
    export(folder, *models, tokenizer, "Random weights.")
    return str(folder)
