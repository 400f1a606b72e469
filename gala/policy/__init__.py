"""Policies of trained runs: found in a run folder and made to act, for users and evaluation."""
