"""The dashboard in a terminal: ``gala watch``. Reads run folders; knows no torch."""
