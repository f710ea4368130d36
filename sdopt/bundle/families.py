"""Model families as data: which components a family has and how they are wired.

Nothing in sdopt asks "is this SDXL?". Export, runtime and pipeline read the rows of this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LongPrompts = Literal["chunk", "cut"]
"""What becomes of a prompt that a text encoder cannot read at once: embeddings of several chunks,
joined along the sequence; or those of the first chunk alone, with a warning."""


@dataclass(frozen=True, slots=True)
class TextEncoding:
    """One way from a prompt to embeddings.

    Attributes:
        tokenizer: The tokenizer's folder, such as ``"tokenizer"``.
        component: The text encoder's component, such as ``"text_encoder"``.
        output: The output that becomes the UNet's ``encoder_hidden_states``.
    """

    tokenizer: str
    component: str
    output: str


@dataclass(frozen=True, slots=True)
class Family:
    """One architecture of pipelines.

    Attributes:
        name: As in the manifest.
        title: For people.
        pipeline_class: ``_class_name`` in a checkpoint's model_index.json.
        text_encodings: In the order in which their outputs are joined.
        components: Every exported component, small ones first.
        long_prompts: What becomes of prompts beyond the text encoder's length.
    """

    name: str
    title: str
    pipeline_class: str
    text_encodings: tuple[TextEncoding, ...]
    components: tuple[str, ...]
    long_prompts: LongPrompts = "chunk"


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="sd1",
            title="Stable Diffusion 1.x",
            pipeline_class="StableDiffusionPipeline",
            text_encodings=(TextEncoding("tokenizer", "text_encoder", "last_hidden_state"),),
            components=("text_encoder", "vae_encoder", "vae_decoder", "unet"),
        ),
    )
}


def family_of_pipeline(pipeline_class: str) -> Family | None:
    """Return the family whose checkpoints name this diffusers pipeline class, if there is one."""
    return next((f for f in FAMILIES.values() if f.pipeline_class == pipeline_class), None)
