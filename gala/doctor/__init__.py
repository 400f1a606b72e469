"""Checks of a machine and of run folders: ``gala doctor``."""
