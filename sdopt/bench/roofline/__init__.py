"""What the machine allows: operations and bytes of a graph against its rates."""
