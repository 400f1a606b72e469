"""File access of the package: atomic writes, YAML with lines, what is shipped, pictures."""
