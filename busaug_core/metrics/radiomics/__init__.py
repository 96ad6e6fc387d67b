"""Radiomic features of gray images, with the names and definitions of pyradiomics, in two dimensions."""
