"""How fast a topology agrees, what it does to a run, and which one is better."""
