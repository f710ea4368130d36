"""Measure a server the way its users meet it."""
