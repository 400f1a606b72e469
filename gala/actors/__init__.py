"""Actors in processes of their own: their pool, their memory, and how they hear their learner."""
