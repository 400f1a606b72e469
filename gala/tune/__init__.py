"""Search for options: short runs whose options an optimizer chooses (``gala tune``)."""
