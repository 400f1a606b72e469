"""Runs: the request that starts one, its folder and its checkpoints."""
