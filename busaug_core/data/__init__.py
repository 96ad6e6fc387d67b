"""Getting breast ultrasound into records: BUSI, its splits, and the simulated stand-in."""
