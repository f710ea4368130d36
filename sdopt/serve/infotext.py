"""The text that web UIs write into pictures, and that makes them again."""

from __future__ import annotations

from collections.abc import Mapping

_PICTURE = {
    "strength": "Denoising strength",
    "mask_blur": "Mask blur",
    "masked_content": "Masked content",
    "mask_invert": "Mask inverted",
    "padding_mask_crop": "Masked area padding",
}
"""What is said of a picture to start from, where there is one; which one it was is not said."""


def infotext(settings: Mapping[str, object]) -> str:
    """Write settings as the text chunk ``parameters``: prompt, negative prompt, then key: value.

    Args:
        settings: As :meth:`GenerationRequest.settings` gives them, and the ``model``.
    """
    facts = {
        "Steps": settings["num_inference_steps"],
        "Sampler": settings["scheduler"],
        "CFG scale": settings["guidance_scale"],
        "Seed": settings["seed"],
        "Size": f"{settings['width']}x{settings['height']}",
        "Clip skip": int(str(settings["clip_skip"])) + 1,
        "Eta": settings["eta"],
        "Model": settings["model"],
    }
    facts |= {title: settings[name] for name, title in _PICTURE.items() if name in settings}
    lines = [str(settings["prompt"])]
    if settings["negative_prompt"]:
        lines.append(f"Negative prompt: {settings['negative_prompt']}")
    return "\n".join([*lines, ", ".join(f"{name}: {value}" for name, value in facts.items())])
