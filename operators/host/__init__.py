"""What every operator shares: form, execution, call from Python, progress, samples and runs."""
