"""Where checkpoints come from: folders, single files, the hub. What they become is the same."""

from __future__ import annotations

from pathlib import Path

from sdopt.errors import CheckpointError
from sdopt.export.checkpoint import Checkpoint
from sdopt.export.hub import HubModel, fetch
from sdopt.export.progress import Report
from sdopt.export.single_file import read_single_file

_PICKLES = (".ckpt", ".bin", ".pt", ".pth", ".pkl")


def locate(
    checkpoint: str | Path, variant: str | None = None, report: Report | None = None
) -> Path:
    """Return the folder or file of a checkpoint, downloaded first where it is a hub id.

    A folder of the same name comes before the hub.

    Args:
        checkpoint: A path, or ``org/name`` or ``org/name@revision`` on the Hugging Face hub.
        variant: Of its weight files.
        report: Called with what is being downloaded.

    Raises:
        HubError: It is a hub id, and cannot be downloaded.
    """
    path = Path(checkpoint)
    model = HubModel.parse(str(checkpoint))
    if path.exists() or path.suffix in (".safetensors", *_PICKLES) or model is None:
        return path
    return fetch(model, variant, report)


def read_checkpoint(
    path: Path, variant: str | None = None, prediction_type: str | None = None
) -> Checkpoint:
    """Read and check a checkpoint. Only headers of weight files are read.

    Args:
        path: A folder in the diffusers layout, or a single safetensors file.
        variant: Of a folder's weight files, as in ``model.fp16.safetensors``.
        prediction_type: What the UNet predicts, for single files that do not say.

    Raises:
        CheckpointError: It is not there, not complete, damaged, pickled, of an unknown family, or
            an option is given that has no effect on it.
    """
    if path.suffix.lower() in _PICKLES:
        raise CheckpointError(
            path, "this is a pickle, which can run any code when it is read", _CONVERT
        )
    if not path.is_file():
        if prediction_type is not None:
            raise CheckpointError(
                path,
                f"prediction_type={prediction_type!r} has no effect on a folder",
                "Change prediction_type in its scheduler/scheduler_config.json",
            )
        return Checkpoint.read(path, variant)
    if variant is not None:
        raise CheckpointError(
            path, f"variant={variant!r} has no effect on a single file", "Leave it out"
        )
    return read_single_file(path, prediction_type)


_CONVERT = (
    "It is never read here. On a machine where you trust it, convert it once with torch: "
    "state = torch.load(PATH, weights_only=True)['state_dict'], then "
    "safetensors.torch.save_file(state, 'model.safetensors')"
)
