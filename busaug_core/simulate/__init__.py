"""A physics-based simulator of B-mode breast ultrasound."""

from .dataset import LABELS, Scan, simulate, write_busi
from .scanner import SCANNERS

__all__ = ["LABELS", "SCANNERS", "Scan", "simulate", "write_busi"]
