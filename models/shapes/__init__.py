"""The small latent diffusion model that sdopt carries, and the recipe that trained it.

Reading order: `scenes` (what a picture holds), `drawing`, `captions`, `prompts`, `tokenizer`, then
the training stages `train_vae`, `train_decoder`, `train_clip`, `train_unet`, then `assemble` and
`judge`. The first four need NumPy and Pillow only, so tests and benchmarks can use them without
torch.
"""
