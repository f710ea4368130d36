"""A bundle of a few bytes: a true manifest over files that are no graphs."""

from __future__ import annotations

from pathlib import Path

from sdopt.bundle.manifest import FORMAT_VERSION, Component, Defaults, Manifest, Parity, Preview
from sdopt.bundle.tensors import TensorSpec
from sdopt.bundle.writer import seal, writing_aside


def small_manifest() -> Manifest:
    component = Component(
        model="unet/model.onnx",
        inputs=(TensorSpec("sample", "float32", ("batch", 4, "latent_height", "latent_width")),),
        outputs=(
            TensorSpec("out_sample", "float32", ("batch", 4, "latent_height", "latent_width")),
        ),
        precision="fp32",
        opset=18,
        parity=Parity(relative_l2=1e-6, max_error=2e-6, tolerance=1e-4, cases=2),
        reference="unet/reference.safetensors",
    )
    return Manifest(
        format_version=FORMAT_VERSION,
        sdopt_version="0.1.0",
        family="sd1",
        prediction_type="epsilon",
        latent_channels=4,
        vae_scale_factor=8,
        scaling_factor=0.18215,
        defaults=Defaults(512, 512, num_inference_steps=50, guidance_scale=7.5),
        scheduler={"_class_name": "PNDMScheduler", "skip_prk_steps": True},
        tokenizers=("tokenizer",),
        components={"unet": component},
        preview=Preview(matrix=((0.1, 0.2, 0.3),) * 4, bias=(0.5, 0.5, 0.5)),
        notes=(),
        files={},
    )


def write_small_bundle(out: Path) -> Manifest:
    """Write a bundle of three small files."""
    with writing_aside(out) as folder:
        for name in ("unet/model.onnx", "unet/reference.safetensors", "tokenizer/vocab.json"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(f"content of {name}")
        return seal(folder, small_manifest())
