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
        layers: The outputs of single layers, as in ``"normed_hidden_states.11"``.
        skipped: How many of the last layers are left out; none means ``last_hidden_state``.
    """

    tokenizer: str
    component: str
    layers: str
    skipped: int = 0

    def output(self, num_layers: int, clip_skip: int = 0) -> str:
        """Return the output that becomes the UNet's ``encoder_hidden_states``.

        Args:
            num_layers: Of the text encoder.
            clip_skip: How many further layers to leave out.
        """
        skipped = self.skipped + clip_skip
        return f"{self.layers}.{num_layers - skipped}" if skipped else "last_hidden_state"


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
            text_encodings=(TextEncoding("tokenizer", "text_encoder", "normed_hidden_states"),),
            components=("text_encoder", "vae_encoder", "vae_decoder", "unet"),
        ),
    )
}


def family_of_pipeline(pipeline_class: str) -> Family | None:
    """Return the family whose checkpoints name this diffusers pipeline class, if there is one."""
    return next((f for f in FAMILIES.values() if f.pipeline_class == pipeline_class), None)
