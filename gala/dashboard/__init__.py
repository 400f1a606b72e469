"""The page that shows a run: a small server over run folders, which it only reads."""
