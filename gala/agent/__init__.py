"""The agent: the loop, what is recorded of it, and the run around it."""
