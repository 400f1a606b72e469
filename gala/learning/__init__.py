"""Learning algorithms: pure functions on rollouts, and the updates made of them."""
