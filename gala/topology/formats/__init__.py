"""Topology files: each format is read into a description, and written."""
