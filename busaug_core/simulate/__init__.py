"""A physics-based simulator of B-mode breast ultrasound."""

from busaug_core.simulate.dataset import LABELS, Scan, simulate, write_busi
from busaug_core.simulate.scanner import SCANNERS

__all__ = ["LABELS", "SCANNERS", "Scan", "simulate", "write_busi"]
