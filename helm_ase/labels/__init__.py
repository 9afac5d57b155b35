"""Files of labelled molecules: reading, writing, checking, merging and splitting them."""
