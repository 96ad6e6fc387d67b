"""Classifiers: training, prediction and their figures of merit."""
