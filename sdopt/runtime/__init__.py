"""From a prompt to a picture, over engines that somebody else made: no torch, no backend."""
