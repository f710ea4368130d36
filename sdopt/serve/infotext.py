"""The text that web UIs write into pictures, and that makes them again."""

from __future__ import annotations

from collections.abc import Mapping


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
    lines = [str(settings["prompt"])]
    if settings["negative_prompt"]:
        lines.append(f"Negative prompt: {settings['negative_prompt']}")
    return "\n".join([*lines, ", ".join(f"{name}: {value}" for name, value in facts.items())])
