"""Records as pictures and as one page."""
