"""Training the diffusion model: one loop, one file for each method."""
