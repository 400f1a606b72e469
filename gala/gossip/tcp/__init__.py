"""Edges between hosts over sockets of our own: one file a layer."""
