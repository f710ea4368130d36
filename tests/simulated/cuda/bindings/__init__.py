"""Stand-in for the package cuda.bindings. See tests/simulated/README.md."""
