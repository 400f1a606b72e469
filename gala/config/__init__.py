"""Every choice of a training run: the tree of sections, files and options."""
