"""Files that appear whole or not at all, and worker processes that end with their parent."""
