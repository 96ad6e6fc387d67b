"""Metrics as pure functions on arrays; they know no record, run or config."""
