"""Text burnt into a scan, read by RapidOCR's models where that package is installed."""

import importlib.util
import re
import threading

import numpy as np
from PIL import Image

from busaug_core.images import without_palette

INSTALL = "pip install onnxruntime pyclipper shapely && pip install --no-deps rapidocr-onnxruntime==1.4.4"
"""Without its dependencies, since one of them, opencv-python, would overwrite the OpenCV that FiftyOne needs."""
CONFIDENCE = 0.6
"""Of a line that is kept: on scans without text, nothing but single characters is read with more."""
SEPARATOR = " | "
"""Between lines."""
SCANNER = re.compile(r"\W*(GE|LOG\w{1,3}|E\d{1,2}|PHILIPS|SIEMENS|ACUSON|TOSHIBA|SAMSUNG|MINDRAY|HITACHI)\W*", re.I)
"""A scanner's name, which many put into a corner; LOGIQ is often misread."""


class TextReader:
    """Reads the text of images, in several threads at a time; the models are loaded when the first is read."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def __call__(self, image: Image.Image) -> str:
        """The lines of two characters and more, from top to bottom; empty where there are none."""
        if not hasattr(self._of_thread, "engine"):
            from rapidocr_onnxruntime import RapidOCR

            self._of_thread.engine = RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)
        pixels = np.asarray(without_palette(image).convert("RGB"))[..., ::-1]
        found, _ = self._of_thread.engine(np.ascontiguousarray(pixels), use_cls=False)
        lines = [text.strip() for _, text, confidence in found or [] if float(confidence) >= CONFIDENCE]
        return SEPARATOR.join(line for line in lines if sum(map(str.isalnum, line)) > 1)


def is_installed() -> bool:
    """Whether text can be read here."""
    return importlib.util.find_spec("rapidocr_onnxruntime") is not None


def is_annotation(text: str | None) -> bool:
    """Whether what was read is more than a scanner's name."""
    return any(not SCANNER.fullmatch(line) for line in (text or "").split(SEPARATOR) if line)
