"""B-mode image formation: scatterers, point-spread function, attenuation, envelope, compression."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from busaug_core.simulate.phantom import Phantom


@dataclass(frozen=True)
class Scanner:
    """Settings of one machine.

    The point-spread function is Gaussian; sigmas are of its amplitude. Levels are dB.
    """

    frequency: float = 9.0  # MHz
    axial: float = 0.13  # mm, sigma
    lateral: float = 0.22  # mm, sigma at the focus
    focus: float = 18.0  # mm
    field_depth: float = 14.0  # mm from the focus at which the beam is sqrt(2) times as wide
    looks: int = 4  # independent speckle patterns averaged (spatial compounding)
    coherent: float = 0.55  # share of the echo's power that does not fluctuate
    dynamic_range: float = 54.0  # dB shown between black and white
    level: float = 0.68  # gray, 0 to 1, that the brightest tenth of the image starts at
    noise_floor: float = -38.0  # dB below that brightest tenth
    tgc: float = 0.57  # dB/cm/MHz, one way, given back by time-gain compensation
    gamma: float = 1.45  # above 1 darkens the middle grays
    unsharp: float = 0.55  # share of detail added
    sector: bool = False  # trapezoidal field of view with black corners


SCANNERS = {
    "linear": Scanner(),
    "crisp": Scanner(12.0, 0.10, 0.19, 15.0, 12.0, 5, 0.60, 58.0, 0.70, -38.0, 0.54, 1.55, 0.75),
    "compound": Scanner(10.0, 0.12, 0.21, 18.0, 15.0, 6, 0.55, 60.0, 0.70, -40.0, 0.56, 1.55, 0.7),
    "smooth": Scanner(9.0, 0.14, 0.25, 20.0, 18.0, 5, 0.60, 60.0, 0.71, -40.0, 0.56, 1.35, 0.35),
    "contrast": Scanner(11.0, 0.11, 0.21, 16.0, 13.0, 5, 0.60, 48.0, 0.67, -36.0, 0.52, 1.4, 0.6),
    "grainy": Scanner(8.0, 0.12, 0.21, 16.0, 12.0, 3, 0.55, 56.0, 0.68, -36.0, 0.55, 1.4, 0.35),
    "sector": Scanner(9.0, 0.12, 0.21, 16.0, 12.0, 5, 0.60, 56.0, 0.69, -38.0, 0.55, 1.45, 0.65, True),
}
SHARES = (0.23, 0.22, 0.2, 0.09, 0.13, 0.1, 0.03)


def pick(rng: np.random.Generator) -> str:
    """The name of a random preset."""
    return str(rng.choice(list(SCANNERS), p=SHARES))


def vary(scanner: Scanner, rng: np.random.Generator) -> Scanner:
    """The same machine with the settings another operator might have chosen."""
    return replace(
        scanner,
        focus=scanner.focus * rng.uniform(0.75, 1.25),
        dynamic_range=scanner.dynamic_range * rng.uniform(0.9, 1.1),
        level=float(np.clip(scanner.level + rng.normal(0, 0.07), 0.45, 0.85)),
        tgc=scanner.tgc + rng.normal(0, 0.05),
        gamma=scanner.gamma * rng.uniform(0.9, 1.1),
        coherent=float(np.clip(scanner.coherent + rng.uniform(-0.1, 0.1), 0, 0.8)),
    )


def lateral_sigma(depth: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Lateral sigma in mm at ``depth`` in mm: a Gaussian beam, held at 2.3 times its waist."""
    spread = np.sqrt(1 + ((depth - scanner.focus) / scanner.field_depth) ** 2)
    return scanner.lateral * np.minimum(spread, 2.3)


def envelope(phantom: Phantom, scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """Linear echo envelope, (n, n) float32, mean of ``scanner.looks`` looks; before compression.

    Fully developed speckle (``coherent`` = 0, one look) is Rayleigh distributed, with a mean of
    1.91 standard deviations (Burckhardt 1978, doi:10.1109/T-SU.1978.30978; Wagner et al. 1983,
    doi:10.1109/T-SU.1983.31404). The power of the echo does not depend on the beam's width.
    """
    n = phantom.echogenicity.shape[0]
    depth = (np.arange(n, dtype=np.float32) + 0.5) * phantom.pixel
    loss = path_loss(phantom, scanner, depth)
    amplitude = np.power(10.0, (phantom.echogenicity + loss) / 20, dtype=np.float32)
    axial = scanner.axial / phantom.pixel
    lateral = (lateral_sigma(depth, scanner) / phantom.pixel).astype(np.float32)
    restore = np.sqrt(4 * np.pi * axial * lateral)[:, None]

    total = np.zeros_like(amplitude)
    steady = _point_spread(amplitude, axial, lateral) * np.sqrt(scanner.coherent)
    for _ in range(scanner.looks):
        noise = rng.standard_normal((2, n, n), dtype=np.float32) * np.float32(0.5**0.5)
        echo = _point_spread(amplitude * (noise[0] + 1j * noise[1]), axial, lateral)
        total += np.abs(steady + restore * np.sqrt(1 - scanner.coherent) * echo)
    return total / scanner.looks


def path_loss(phantom: Phantom, scanner: Scanner, depth: np.ndarray) -> np.ndarray:
    """Two-way loss in dB, (n, n) float32, integrated from the transducer, less the TGC."""
    step = 2 * scanner.frequency * phantom.pixel / 10
    lost = np.cumsum(phantom.attenuation, axis=0) * step
    # The aperture passes a narrow shadow by, the more so the farther behind.
    near = gaussian_filter1d(lost, 1.5, axis=1, mode="nearest")
    far = gaussian_filter1d(lost, 4.0 + scanner.looks, axis=1, mode="nearest")
    lost = near + (far - near) * np.clip(depth[:, None] / 40, 0, 1)
    return scanner.tgc * 2 * scanner.frequency * depth[:, None] / 10 - lost


def display(linear: np.ndarray, scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """Compress an envelope (n, n) to gray levels, float32 in [0, 1]."""
    reference = np.percentile(linear, 90)
    noise = np.abs(rng.standard_normal(linear.shape, dtype=np.float32)) + 0.3
    linear = np.hypot(linear / reference, noise * 10 ** (scanner.noise_floor / 20))
    gray = scanner.level + 20 * np.log10(linear) / scanner.dynamic_range
    if scanner.unsharp:
        detail = gray - gaussian_filter(gray, 1.6)
        gray += scanner.unsharp * np.maximum(detail, 0.3 * detail)
    gray = np.clip(gray, 0, 1) ** scanner.gamma
    return gray.astype(np.float32)


def visible(n: int, scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """(n, n) bool, False where the screen is black: outside the sector or beyond a side border."""
    y, x = np.mgrid[:n, :n] / n
    shown = np.ones((n, n), bool)
    if scanner.sector:
        lean = rng.uniform(0.06, 0.16)
        shown &= (x > lean * (1 - y / 0.9)) & (1 - x > lean * (1 - y / 0.9))
    elif rng.random() < 0.03:
        side = x if rng.random() < 0.5 else 1 - x
        shown &= side > rng.uniform(0.02, 0.09)
    return shown


def _point_spread(field, axial, lateral):
    """Blur an (n, n) field by ``axial`` (pixels) down and ``lateral`` (n,) pixels across."""
    margin = 8
    field = np.pad(field, ((0, 0), (margin, margin)), mode="reflect")
    if np.iscomplexobj(field):
        field = gaussian_filter1d(field.real, axial, 0) + 1j * gaussian_filter1d(field.imag, axial, 0)
    else:
        field = gaussian_filter1d(field, axial, 0)
    frequency = fft.fftfreq(field.shape[1]).astype(np.float32)
    response = np.exp(-2 * (np.pi * lateral[:, None] * frequency) ** 2)
    blurred = fft.ifft(fft.fft(field.astype(np.complex64), axis=1) * response, axis=1)
    return blurred[:, margin:-margin]
