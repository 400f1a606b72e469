"""Finished runs summed up and drawn: ``gala report``. Reads run folders; knows no torch."""
