"""Families of graphs, which take their size from the launch."""
