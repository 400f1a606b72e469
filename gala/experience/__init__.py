"""Experience: batches that learners see, and the sources that hand them out."""

from gala.experience.batch import Batch
from gala.experience.collector import Collector
from gala.experience.source import Source

__all__ = ["Batch", "Collector", "Source"]
