"""Classifiers: training, predictions, and features of their penultimate layer."""
