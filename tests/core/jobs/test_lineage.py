"""Products are traced to their run, however they are named; what has seen held-out images is refused."""

import shutil
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from busaug_core.errors import UserError
from busaug_core.files import write_json
from busaug_core.jobs.config import JobConfig
from busaug_core.jobs.events import Progress
from busaug_core.jobs.execute import Job
from busaug_core.jobs.lineage import Product, ancestors, resolve_product, run_that_made
from busaug_core.jobs.roles import of_split, refuse_learned_by_makers
from busaug_core.jobs.run import Ancestor, Run
from busaug_core.records import Record

FILE = Product("weights.safetensors", job="count")
FOLDER = Product("unet", job="count")


class Count(JobConfig):
    """Counts, with what others have made."""

    weights: Annotated[str | None, FILE] = None
    base_model: Annotated[str, Product("unet", job="count", only=False)] = Field("mini")


def count(config, run):
    """Yields once."""
    yield Progress(1, 1, "Counting")
    return {}


COUNT = Job("count", Count, count)


def begun_run(root, key, records, dataset="trial", **values):
    """A run that was given these records."""
    events = COUNT.run(dict(run_key=key, **values), records, dataset, root)
    next(events)
    events.close()
    return Run(root / dataset / "runs" / key)


@pytest.fixture
def two(tmp_path):
    """Two images, and a function that makes a run which trained on one and held out the other."""
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        path.write_text(path.name)

    def begun(key, train, val, **values):
        records = [Record(str(train), "benign", tags=["train"]), Record(str(val), "benign", tags=["val"])]
        return begun_run(tmp_path, key, records, **values)

    return paths, begun


def test_a_product_that_was_trained_on_images_now_held_out_is_refused(two, tmp_path):
    paths, begun = two
    elsewhere = shutil.copy(paths[0], tmp_path / "a_again.png")
    file = begun("lora", *paths).folder / "weights.safetensors"
    file.write_text("x")
    assert begun("same", *paths, weights="lora").environment["lineage"] == {"weights": str(file.parent)}
    for key, held_out in (("other", paths[0]), ("moved", elsewhere)):
        with pytest.raises(UserError, match=rf"trained on 1 image .*{Path(held_out).name}"):
            begun(key, paths[1], held_out, weights="lora")


@pytest.mark.parametrize("given", ["key", "folder", "file", "link"])
def test_a_file_or_folder_within_a_run_is_traced_to_it_however_it_is_named(two, tmp_path, given):
    paths, begun = two
    folder = begun("tuned", *paths).folder / "unet"
    write_json(folder / "config.json", {})
    file = folder / "diffusion_pytorch_model.safetensors"
    file.write_text("x")
    (tmp_path / "link").symlink_to(folder)
    place = {"key": "tuned", "folder": str(folder), "file": str(file), "link": str(tmp_path / "link")}[given]
    assert resolve_product(Run(folder.parents[1] / "new"), place, FOLDER).run.key == "tuned"
    with pytest.raises(UserError, match="held out now"):
        begun("other", *reversed(paths), weights=str(file))
    with pytest.raises(UserError, match="held out now"):
        begun("other", *reversed(paths), base_model=place)


def test_a_run_of_another_dataset_is_traced_too(two, tmp_path):
    paths, begun = two
    file = begun("lora", *paths, dataset="elsewhere").folder / "weights.safetensors"
    file.write_text("x")
    for place in (file, file.parent):
        with pytest.raises(UserError, match="held out now"):
            begun("other", *reversed(paths), weights=str(place))


def test_what_a_product_itself_grew_from_counts_as_well(two):
    paths, begun = two
    (begun("first", *paths).folder / "weights.safetensors").write_text("x")
    second = begun_run(paths[0].parent, "second", [], weights="first")
    (second.folder / "weights.safetensors").write_text("y")
    assert [run.key for run in ancestors(second)] == ["second", "first"]
    with pytest.raises(UserError, match="'second' was trained on 1 image"):
        begun("other", *reversed(paths), weights="second")


def test_files_that_moved_since_are_known_by_their_content(two, tmp_path):
    paths, begun = two
    records = [Record(str(paths[0]), "benign", tags=["train"])]
    learning = Job("count", Count, count, learns=True)
    list(learning.run(dict(run_key="lora"), records, "trial", tmp_path))
    (tmp_path / "trial/runs/lora/weights.safetensors").write_text("x")
    moved = paths[0].rename(tmp_path / "moved.png")
    with pytest.raises(UserError, match="trained on 1 image .*moved.png"):
        begun("other", paths[1], moved, weights="lora")


def test_a_word_that_stands_for_no_product_is_left_to_the_job(two):
    paths, begun = two
    assert begun("one", *paths, base_model="some/hub-id").environment.get("lineage") is None


def test_weights_that_changed_since_the_run_began_are_refused(two):
    paths, begun = two
    file = begun("lora", *paths).folder / "weights.safetensors"
    file.write_text("x")
    begun("user", *paths, weights="lora")
    file.write_text("y")
    with pytest.raises(UserError, match="weights_weights has changed since run 'user' began"):
        begun("user", *paths, weights="lora")


def test_a_product_is_found_by_run_key_file_or_folder(tmp_path):
    begun_run(tmp_path, "one", [])
    run = begun_run(tmp_path, "two", [])
    file = tmp_path / "trial/runs/one/weights.safetensors"
    with pytest.raises(UserError, match="Run 'one' is stopped and has no weights.safetensors yet"):
        resolve_product(run, "one", FILE)
    file.write_text("x")
    for given in ("one", str(file), str(file.parent)):
        assert resolve_product(run, given, FILE).path == file
    with pytest.raises(UserError, match="neither a run"):
        resolve_product(run, "three", FILE)
    assert run_that_made(tmp_path) is None


def test_an_image_in_two_splits_is_refused():
    records = [Record("a.png", "benign", tags=["train"]), Record("b.png", "benign", tags=["val", "train"])]
    with pytest.raises(UserError, match=r"1 image is in more than one split, the first b.png \(train and val\)"):
        of_split(records, "train")
    assert of_split(records, "test") == []


def test_a_product_of_another_dataset_is_called_by_both_names(tmp_path):
    run = Run(tmp_path / "trial/runs/one")

    def called(given):
        trained = run.sibling(given)
        return run.name_of(Ancestor(given, trained.folder / "weights.safetensors", trained))

    assert called("clf") == "clf"
    assert called(str(tmp_path / "my-other/runs/clf")) == "my_other_clf"
    assert called(str(tmp_path / "trial/x/../runs/clf")) == "clf"
    assert run.name_of(Ancestor("x", Path("/some/my-net.safetensors"), None)) == "my_net"


def test_a_folder_is_taken_from_the_working_directory_and_a_key_never(tmp_path, monkeypatch):
    run = Run(tmp_path / "trial/runs/one")
    (tmp_path / "clf").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run.sibling("clf").folder == tmp_path / "trial/runs/clf"
    assert run.sibling("./other/clf").folder == tmp_path / "other/clf"


def test_a_run_that_lost_its_product_or_makes_another_is_called_that(tmp_path):
    run = begun_run(tmp_path, "one", [])
    list(COUNT.run(dict(run_key="done"), [], "trial", tmp_path))
    with pytest.raises(
        UserError, match="Run 'done' has lost its weights.safetensors; put it back into .*runs/done, or"
    ):
        resolve_product(run, "done", FILE)
    other = Product("other.safetensors", job="train_other")
    with pytest.raises(UserError, match="Run 'done' is one of count and holds no other.safetensors; .* here: none yet"):
        resolve_product(run, "done", other)


def test_what_a_product_refuses_by_itself_is_told_and_a_run_goes_before(tmp_path):
    def refuse(given):
        raise UserError(f"no {given}")

    run = begun_run(tmp_path, "one", [])
    product = Product("unet", job="count", only=False, refuse=refuse)
    with pytest.raises(UserError, match="no mini"):
        resolve_product(run, "mini", product)
    with pytest.raises(UserError, match="Run 'one' is stopped"):
        resolve_product(run, "one", product)


@pytest.mark.parametrize(("tag", "split"), [("Train", "train"), ("VAL", "val"), ("test ", "test")])
def test_a_tag_that_is_a_splits_but_for_its_letters_is_refused_with_what_to_do(tag, split):
    records = [Record("a.png", "benign", tags=[split]), Record("b.png", "benign", tags=[tag])]
    told = f"1 image bears the tag '{tag}' .the first b.png.*tag_samples.'{split}'"
    with pytest.raises(UserError, match=told):
        of_split(records, split)
    records[1].tags.append(split)
    assert of_split(records, split) == records


def test_images_of_a_generator_that_learned_from_what_is_held_out_now_are_refused(two):
    paths, begun = two
    (begun("lora", *paths).folder / "weights.safetensors").write_text("x")
    made = {}
    for key, values in (("tuned", {"weights": "lora"}), ("untuned", {})):
        path = begun(key, *paths, **values).folder / "images/base/1.png"
        path.parent.mkdir(parents=True)
        path.write_text(key)
        made[key] = Record(str(path), "benign", origin="synthetic", variant="base")
    learned, other = (Record(str(path), "benign", tags=["val"]) for path in paths)
    refuse_learned_by_makers(made.values(), [other])
    refuse_learned_by_makers([made["untuned"], learned], [learned])
    with pytest.raises(UserError, match=rf"run 'tuned' .* trained on 1 image .*{paths[0].name}"):
        refuse_learned_by_makers(made.values(), [other, learned])
