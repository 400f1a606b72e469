"""Devices: the order of an agent's work there, and recorded functions."""
