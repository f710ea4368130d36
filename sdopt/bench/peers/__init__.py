"""The other side of comparisons: what each peer is, its environment, and its process."""
