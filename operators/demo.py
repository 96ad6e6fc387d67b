"""The demo: the operator run_experiment on simulated scans or a copy of BUSI: `python -m operators.demo`.

Each run of the experiment's chain lands in the dataset when it is done, so that the App shows it meanwhile. A demo that
was stopped goes on where it was, and one that is done only prints its table again.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.plugins as fop

from busaug_core.base.defaults import MINI
from busaug_core.data.config import SIMULATED
from busaug_core.errors import OtherSettings, UserError
from busaug_core.experiment.config import RunExperiment
from busaug_core.jobs.runs import runs_folder

PLUGIN = "@busaug/busaug"
RUN_KEY = "demo"


def usual_preset(source: str) -> str:
    """The sizes that suit simulated or real scans."""
    return "demo" if source == SIMULATED else "half_hour"


def dataset_name(source: str, base: str, preset: str) -> str:
    """The demo's dataset: one for each source, base and preset."""
    parts = ["busaug-demo"]
    parts += ["busi"] if source != SIMULATED else []
    parts += [base.rstrip("/").split("/")[-1].removesuffix(".safetensors")] if base != MINI else []
    parts += [preset] if preset != usual_preset(source) else []
    return "-".join(parts)


def check_plugin() -> None:
    """Raise UserError where FiftyOne would take another copy of the plugin, or none."""
    root = Path(__file__).resolve().parents[1]
    found = [p.directory for p in fop.list_plugins() if p.name == PLUGIN]
    if not found or Path(found[0]).resolve() != root:
        where = f"finds it in {found[0]}" if found else "does not find it"
        raise UserError(
            f"FiftyOne {where}; run `make setup`, or set FIFTYONE_PLUGINS_DIR={root.parent} for this checkout."
        )


def main() -> int:
    """Run the demo as the environment says; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busi", default=os.environ.get("BUSI"), help="a copy of BUSI; simulated scans without")
    parser.add_argument("--base", default=os.environ.get("BASE") or None, help="the base model; the preset's without")
    parser.add_argument("--preset", default=os.environ.get("PRESET") or None, choices=RunExperiment.presets)
    options = parser.parse_args()
    source, begun = options.busi or SIMULATED, time.monotonic()
    preset = options.preset or usual_preset(source)
    # What the preset takes by itself is named by it already.
    name = dataset_name(source, options.base or MINI, preset)
    try:
        check_plugin()
        values = dict(source=source, dataset_name=name, base_model=options.base, preset=preset)
        result = foo.get_operator(f"{PLUGIN}/run_experiment")(**values, run_key=RUN_KEY)
        if result["state"] != "done":
            raise KeyboardInterrupt
    except UserError as error:
        print(f"demo: {error}", file=sys.stderr)
        if isinstance(error, OtherSettings):
            print(
                "An earlier version has begun this demo with settings of its own. To begin it anew, delete all of it: "
                f"fiftyone datasets delete {name}; rm -r {runs_folder(name).parent}",
                file=sys.stderr,
            )
        return 1
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        return 130
    print("", *result["table"], "", sep="\n")
    print(f"{(time.monotonic() - begun) / 60:.1f} minutes. The report lies in {result['results']}")
    if os.environ.get("OPEN", "1") != "0":
        print("The App shows the dataset; press Ctrl-C to leave.", flush=True)
        fo.launch_app(fo.load_dataset(name)).wait(-1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
