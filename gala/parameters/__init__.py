"""Parameters as one flat vector, and the optimizer of it."""
