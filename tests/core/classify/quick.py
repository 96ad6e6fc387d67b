"""Settings of a short training."""

QUICK = dict(epochs=3, resolution=32, batch_size=4)
