"""An NVIDIA GPU as a device: memory, one stream, graphs. No backend is known here."""
