"""Many requests at once over the one denoising loop, and the HTTP interfaces to it."""
