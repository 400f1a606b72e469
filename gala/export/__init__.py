"""What leaves gala: records of runs as tables, policies in files of other programs."""
