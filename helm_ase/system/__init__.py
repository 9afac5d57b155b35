"""Files that are written completely or not at all, worker processes, and other dealings with the system."""
