"""Generating images: recipes, the sampler, and the files they land in."""
