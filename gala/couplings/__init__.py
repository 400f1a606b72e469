"""Couplings: how agents are tied together, and how often they exchange."""
