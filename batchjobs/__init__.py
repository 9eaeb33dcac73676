"""What a job is, and the commands that carry it from items to answers."""

__version__ = "0.1.0"
