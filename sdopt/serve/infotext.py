"""The text that web UIs write into pictures, and that makes them again."""

from __future__ import annotations

from collections.abc import Mapping

_OPTIONAL = {
    "subseed": "Variation seed",
    "subseed_strength": "Variation seed strength",
    "s_churn": "Sigma churn",
    "s_tmin": "Sigma tmin",
    "s_tmax": "Sigma tmax",
    "s_noise": "Sigma noise",
    "hr_strength": "Denoising strength",
    "hr_scale": "Hires upscale",
    "hr_second_pass_steps": "Hires steps",
    "hr_upscaler": "Hires upscaler",
    "strength": "Denoising strength",
    "mask_blur": "Mask blur",
    "masked_content": "Masked content",
    "mask_invert": "Mask inverted",
    "padding_mask_crop": "Masked area padding",
}
"""What is said where a request has it; which picture it started from is not said."""


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
    facts |= {title: settings[name] for name, title in _OPTIONAL.items() if name in settings}
    lines = [str(settings["prompt"])]
    if settings["negative_prompt"]:
        lines.append(f"Negative prompt: {settings['negative_prompt']}")
    return "\n".join([*lines, ", ".join(f"{name}: {value}" for name, value in facts.items())])
