"""Evaluation: real episodes of trained policies, videos of them, and honest statistics."""
