"""Put the results of the three stages together as a Stable Diffusion checkpoint in fp16.

Run: python -m models.shapes.assemble
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from models.shapes.training import CHECKPOINT, DECODER_RESULT, UNET_RESULT, read_config
from models.shapes.words import Words


def main() -> None:
    """Write the checkpoint's components and its `model_index.json`; the tokenizer lies there."""
    components = {
        "vae": AutoencoderKL.from_pretrained(DECODER_RESULT).half(),
        "text_encoder": CLIPTextModel.from_pretrained(UNET_RESULT / "text_encoder").half(),
        "unet": UNet2DConditionModel.from_pretrained(UNET_RESULT / "unet").half(),
        "scheduler": DDIMScheduler(**read_config("unet")["scheduler"]),
    }
    for name, component in components.items():
        shutil.rmtree(CHECKPOINT / name, ignore_errors=True)
        component.save_pretrained(CHECKPOINT / name)
        tidy(CHECKPOINT / name)
    pipeline = StableDiffusionPipeline(
        **components,
        tokenizer=Words().tokenizer,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_config(CHECKPOINT)


def tidy(folder: Path) -> None:
    """Forget where the weights were trained, and let the folder's files be read by everyone."""
    for path in folder.iterdir():
        path.chmod(0o644)
    for path in folder.glob("*config.json"):
        config = json.loads(path.read_text(encoding="utf-8"))
        config.pop("_name_or_path", None)
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def check() -> None:
    """Load what was written, and raise unless it makes a picture of 96x96 pixels."""
    pipeline = StableDiffusionPipeline.from_pretrained(CHECKPOINT, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a red circle on a blue background", num_inference_steps=1).images[0]
    if image.size != (96, 96):
        raise ValueError(f"The default picture is {image.size}, not 96x96 pixels.")


if __name__ == "__main__":
    main()
    check()
