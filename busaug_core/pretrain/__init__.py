"""The parts of `train_mini`: text side, autoencoder, latents and UNet, measurement, export."""
