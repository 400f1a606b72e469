"""The epsilon-ball: how far agents are apart, and how far theory says they can be."""
