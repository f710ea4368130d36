"""Measure what sdopt does, and how sure each figure is."""
