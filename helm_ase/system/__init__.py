"""Files that appear whole or not at all, and what a worker process owes its parent."""
