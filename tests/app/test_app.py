"""The App in a real browser: open the dataset, filter, generate from the form, meet errors, hear of the background.

Screenshots go to the folder `$SCREENSHOTS`, by default one of pytest's temporary ones.
"""

import os
import re
import shutil
import socket
import threading
import time
import urllib.request
from pathlib import Path

import fiftyone as fo
import fiftyone.operators as foo
import psutil
import pytest
from fiftyone.operators.delegated import DelegatedOperationService

from busaug_core.base.defaults import MINI, MINI_FOLDER

pytestmark = pytest.mark.app

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
SLOW = 240_000
"""Milliseconds for a job in the App on a busy machine."""


@pytest.fixture(scope="module")
def base_model(base):
    return MINI if (MINI_FOLDER / "model_index.json").exists() else base


@pytest.fixture(scope="module")
def dataset(base_model):
    """A few simulated scans, a LoRA of a few steps, and three images of two variants."""
    load = foo.get_operator("@busaug/busaug/load_busi")
    load(dataset_name="app", images=36, image_size=128, run_key="load")
    dataset = fo.load_dataset("app")
    train = foo.get_operator("@busaug/busaug/train_lora")
    train(dataset, base_model=base_model, steps=3, batch_size=2, run_key="lora")
    generate = foo.get_operator("@busaug/busaug/generate")
    made = dict(counts={"benign": 1, "malignant": 1, "normal": 1}, variants=["sd", "sd_img2img"])
    generate(dataset, base_model=base_model, lora="lora", steps=10, run_key="first", **made)
    return dataset


@pytest.fixture(scope="module")
def server(dataset):
    """The address of an App server that shows the dataset."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    fo.launch_app(dataset, remote=True, port=port, address="127.0.0.1", auto=False)
    address = f"http://127.0.0.1:{port}"
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{address}/fiftyone", timeout=5).read()
            break
        except OSError:
            time.sleep(0.5)
    else:
        pytest.fail("the App's server does not answer")
    yield address
    # session.close() waits a minute for the server to give up its database
    for process in psutil.Process().children(recursive=True):
        if str(port) in process.cmdline():
            process.kill()


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("screenshots")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def page(server):
    """A fresh page that shows the dataset."""
    from playwright.sync_api import sync_playwright

    program = next((path for path in map(shutil.which, CHROMIUM) if path), None)
    if program is None:
        pytest.fail("there is no Chromium; install the package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        context = browser.new_context(viewport={"width": 1500, "height": 950})
        context.add_init_script("localStorage.setItem('fiftyone-enterprise-tooltip-seen', 'true')")
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{server}/datasets/app", wait_until="domcontentloaded")
        page.wait_for_selector("[data-cy=entry-counts]")
        page.wait_for_selector("[data-cy=looker]")
        page.wait_for_timeout(2000)
        yield page
        browser.close()


def count(page, text, timeout=60_000):
    """Wait until the grid counts so many samples."""
    from playwright.sync_api import expect

    expect(page.locator("[data-cy=entry-counts]").first).to_contain_text(re.compile(text), timeout=timeout)


def show_similar(page):
    """Choose the fourth image and have those shown that are like it."""
    place = page.locator("[data-cy=looker]").nth(3).bounding_box()
    chosen = page.locator("[data-cy=action-manage-selected]")
    while not chosen.count():
        page.mouse.move(place["x"] + 60, place["y"] + 60)
        page.wait_for_timeout(800)
        page.mouse.click(place["x"] + 19, place["y"] + 19)
        page.wait_for_timeout(1200)
    page.locator("[data-cy=action-sort-by-similarity]").dispatch_event("click")
    page.get_by_text("Show similar samples").click(force=True)


def open_form(page, name):
    """Open an operator's form by the palette and return its dialog."""
    page.keyboard.press("`")
    page.wait_for_timeout(1000)
    page.keyboard.type(name)
    page.wait_for_timeout(1000)
    page.keyboard.press("Enter")
    dialog = page.locator(".MuiDialog-root")
    dialog.get_by_role("button", name="Execute").wait_for()
    page.wait_for_timeout(1500)
    return dialog


def fill_generate(page, dialog, base_model, counts):
    dialog.get_by_text("A number for each class").click()
    page.wait_for_timeout(1500)
    numbers = dialog.locator("input[type=number]")
    assert numbers.count() == len(counts) + 1  # and the seed
    for i, n in enumerate(counts):
        numbers.nth(i).fill(str(n))
    dialog.locator("input[type=text]").first.fill(base_model)
    page.keyboard.press("Tab")
    page.wait_for_timeout(1500)


def filter_variant(page, variant):
    """Show one variant by the sidebar."""
    page.locator("[data-cy=sidebar-field-arrow-enabled-variant]").last.click()
    search = page.get_by_placeholder("filter by variant")
    search.click()
    search.type(variant)
    page.wait_for_timeout(1500)
    page.keyboard.press("Enter")


def test_the_dataset_opens_and_the_sidebar_filters_by_variant(page, shots):
    count(page, "42 samples")
    page.screenshot(path=shots / "dataset.png")
    filter_variant(page, "sd_img2img")
    count(page, r"\b3\b")
    page.wait_for_timeout(1500)
    page.screenshot(path=shots / "filtered.png")


def test_generate_through_its_form_adds_two_images_to_the_grid(page, shots, dataset, base_model):
    count(page, "42 samples")
    dialog = open_form(page, "BUSAug: generate")
    page.screenshot(path=shots / "form.png")
    dialog.locator("[data-testid=CancelIcon]").last.click()  # leaves sd alone of sd and sd_img2img
    fill_generate(page, dialog, base_model, [1, 1, 0])
    page.screenshot(path=shots / "form_filled.png")
    dialog.get_by_text("Will make 2 images: 1 benign, 1 malignant, 0 normal").wait_for()
    dialog.get_by_role("button", name="Execute").click()
    page.get_by_text("Generating images: step").first.wait_for(timeout=SLOW)
    page.screenshot(path=shots / "running.png")
    page.get_by_text("generate: 2 images").first.wait_for(timeout=SLOW)
    page.locator(".MuiDialog-root").get_by_role("button", name="Done").click()
    count(page, "2 samples")  # the new images are opened as a view
    page.wait_for_timeout(1500)
    page.screenshot(path=shots / "generated.png")
    dataset.reload()
    assert dataset.match({"variant": "sd"}).count() == 5


def test_a_name_that_is_not_there_is_marked_before_the_job_begins(page, shots, base_model):
    dialog = open_form(page, "BUSAug: generate")
    fill_generate(page, dialog, base_model, [1, 0, 0])
    dialog.locator("input[type=text]").nth(1).fill("no_such_run")
    page.keyboard.press("Tab")
    dialog.get_by_text("'no_such_run' is neither a run of this dataset").wait_for()
    assert dialog.get_by_role("button", name="Execute").is_disabled()
    page.screenshot(path=shots / "marked.png")


def test_a_form_comes_back_as_it_was_filled_in_with_why_it_failed(page, shots):
    dialog = open_form(page, "BUSAug: compute embeddings")
    dialog.locator("input[type=text]").first.fill("incepton")
    page.keyboard.press("Tab")
    page.wait_for_timeout(1500)
    dialog.get_by_role("button", name="Execute").click()
    page.get_by_text("This failed").wait_for(timeout=SLOW)
    page.wait_for_timeout(6000)  # longer than a notification stays
    message = "There is no extractor 'incepton'; there are efficientnet_lite0,"
    form = page.locator(".MuiDialog-root").filter(has_text="Run in the background")
    assert message in form.inner_text()
    assert form.locator("input[type=text]").first.input_value() == "incepton"
    page.screenshot(path=shots / "failed.png")
    form.get_by_role("button", name="Cancel").click()
    page.wait_for_timeout(1000)
    assert message in page.locator(".MuiDialog-root").first.inner_text()
    assert page.get_by_text("Traceback").count() == 0


def test_the_app_tells_when_a_job_in_the_background_has_ended(page, shots):
    dialog = open_form(page, "BUSAug: audit")
    dialog.get_by_text("Run in the background").click()
    page.wait_for_timeout(1500)
    dialog.get_by_role("button", name="Execute").click()
    page.get_by_text("audit: queued as run").first.wait_for(timeout=SLOW)
    page.wait_for_timeout(2000)
    queue = threading.Thread(target=DelegatedOperationService().execute_queued_operations, kwargs={"limit": 1})
    queue.start()
    page.get_by_text(re.compile("audit: 36 images")).first.wait_for(timeout=SLOW)
    page.screenshot(path=shots / "background.png")
    queue.join()


@pytest.fixture(scope="module")
def own(dataset):
    """A dataset that BUSAug did not load: its class is a string under another name."""
    own = fo.Dataset("own")
    scans = dataset.match({"origin": {"$ne": "synthetic"}})
    own.add_samples([fo.Sample(filepath=s.filepath, diagnosis=s.ground_truth.label) for s in scans])
    return own


def test_a_dataset_of_ones_own_is_coloured_filtered_and_searched_after_its_first_job(page, shots, server, own):
    page.goto(f"{server}/datasets/own", wait_until="domcontentloaded")
    page.wait_for_selector("[data-cy=looker]")
    page.wait_for_timeout(2000)
    dialog = open_form(page, "BUSAug: compute embeddings")
    dialog.get_by_role("button", name="Execute").click()
    page.get_by_text(re.compile("compute embeddings: (?!preparing)")).first.wait_for(timeout=SLOW)
    page.reload(wait_until="domcontentloaded")
    page.locator("[data-cy=tag-variant]").first.wait_for()
    page.screenshot(path=shots / "own.png")
    filter_variant(page, "real")
    count(page, "36")
    own.reload()
    assert set(own.values("variant")) == set(own.values("origin")) == {"real"}
    show_similar(page)
    page.get_by_text("25 results").first.wait_for(timeout=SLOW)  # which a click on it shows
    page.screenshot(path=shots / "similar.png")
