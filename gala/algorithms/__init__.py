"""Learning algorithms: pure functions of time-indexed arrays, and the update that uses them."""
