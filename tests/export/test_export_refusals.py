"""Bad input: a clear error each, and nothing under the final name."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdopt.errors import (
    BundleWriteError,
    CheckpointError,
    ExportError,
    ParityError,
    WeightsMismatchError,
)
from sdopt.export import ExportOptions, export, parity
from tests.export.altered import TEXT, UNET, VAE, change, copied, edit_json
from tests.export.graphs import Tiny, run_graph

LAYOUT = (
    "A checkpoint is a folder in the diffusers layout (model_index.json and one folder per "
    "component), a single safetensors file, or org/name on the Hugging Face hub."
)


def nothing_there(root: Path) -> None:
    shutil.rmtree(root)


def empty(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def index_is_no_json(root: Path) -> None:
    (root / "model_index.json").write_text("{")


def unknown_family(root: Path) -> None:
    edit_json(root / "model_index.json", _class_name="FluxPipeline")


def no_unet(root: Path) -> None:
    shutil.rmtree(root / "unet")


def no_weights(root: Path) -> None:
    (root / UNET).unlink()


def only_pickles(root: Path) -> None:
    (root / UNET).rename((root / UNET).with_suffix(".bin"))


def truncated(root: Path) -> None:
    os.truncate(root / VAE, 100_000)


def header_cut_off(root: Path) -> None:
    os.truncate(root / VAE, 100)


def empty_file(root: Path) -> None:
    os.truncate(root / VAE, 0)


def other_class(root: Path) -> None:
    edit_json(root / "unet" / "config.json", _class_name="FluxTransformer2DModel")


def other_channels(root: Path) -> None:
    edit_json(root / "unet" / "config.json", in_channels=5)


def other_family(root: Path) -> None:
    edit_json(root / "unet" / "config.json", addition_embed_type="text_time")


def no_tokenizer(root: Path) -> None:
    (root / "tokenizer" / "merges.txt").unlink()


def no_scheduler(root: Path) -> None:
    shutil.rmtree(root / "scheduler")


REFUSALS: dict[Callable[[Path], None], str] = {
    nothing_there: "Checkpoint {root}: there is no such folder. " + LAYOUT,
    empty: "Checkpoint {root}: there is no model_index.json in this folder. " + LAYOUT,
    index_is_no_json: (
        "Checkpoint {root}/model_index.json: this is no readable JSON (Expecting property name "
        "enclosed in double quotes: line 1 column 2 (char 1)). Get the complete checkpoint."
    ),
    unknown_family: (
        "Checkpoint {root}: model_index.json says _class_name='FluxPipeline', which is no family "
        "that sdopt knows. Known: StableDiffusionPipeline, StableDiffusionImg2ImgPipeline, "
        "StableDiffusionInpaintPipeline, LatentConsistencyModelPipeline, "
        "LatentConsistencyModelImg2ImgPipeline, StableDiffusionXLPipeline, "
        "StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInpaintPipeline. Choose a checkpoint "
        "of one of these."
    ),
    no_unet: "Checkpoint {root}: unet/config.json is missing. Get the complete checkpoint.",
    no_weights: (
        "Checkpoint {root}/unet: there are no safetensors weights in this folder. "
        "Get the complete checkpoint."
    ),
    only_pickles: (
        "Checkpoint {root}/unet: there are no safetensors weights in this folder. Pickled weights "
        "(.bin, .ckpt) can run any code and are never read. Convert them with "
        "save_pretrained(..., safe_serialization=True)."
    ),
    truncated: (
        "Checkpoint {root}/vae/diffusion_pytorch_model.safetensors: the file has 100000 bytes, "
        "where its header announces {vae_bytes}. Copy or download the file again."
    ),
    header_cut_off: (
        "Checkpoint {root}/vae/diffusion_pytorch_model.safetensors: this is not a readable "
        "safetensors file. Copy or download the file again."
    ),
    empty_file: (
        "Checkpoint {root}/vae/diffusion_pytorch_model.safetensors: this is not a readable "
        "safetensors file. Copy or download the file again."
    ),
    other_class: (
        "Checkpoint {root}: unet/config.json says 'FluxTransformer2DModel', where "
        "'UNet2DConditionModel' is expected. Choose a checkpoint whose model_index.json and "
        "folders belong together."
    ),
    other_channels: (
        "Checkpoint {root}: unet.in_channels=5 and vae.latent_channels=4 must be equal in this "
        "family (Stable Diffusion 1.x). Choose a checkpoint whose networks belong together."
    ),
    other_family: (
        "Checkpoint {root}: unet/config.json says addition_embed_type='text_time'; in this family "
        "(Stable Diffusion 1.x) it must be null. Choose a checkpoint whose UNet belongs to its "
        "model_index.json."
    ),
    no_tokenizer: (
        "Checkpoint {root}: tokenizer/ holds no tokenizer. Either vocab.json and merges.txt or "
        "tokenizer.json must be there. Get the complete checkpoint."
    ),
    no_scheduler: (
        "Checkpoint {root}: scheduler/scheduler_config.json is missing. "
        "Get the complete checkpoint."
    ),
}


@pytest.mark.parametrize("damage", REFUSALS, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_refused(
    tiny: Tiny, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    root = copied(tiny.checkpoint, tmp_path / "checkpoint")
    vae_bytes = (root / VAE).stat().st_size
    damage(root)
    with pytest.raises(CheckpointError) as error:
        export(root, tmp_path / "out", run=run_graph)
    assert str(error.value) == REFUSALS[damage].format(root=root, vae_bytes=vae_bytes)
    assert not (tmp_path / "out").exists()


def test_missing_and_unexpected_weights_are_named(tiny: Tiny, tmp_path: Path) -> None:
    def swap(tensors: dict[str, Any]) -> dict[str, Any]:
        tensors["conv_in.extra"] = tensors.pop("conv_in.weight")
        return tensors

    root = copied(tiny.checkpoint, tmp_path / "checkpoint")
    change(root / UNET, swap)
    with pytest.raises(WeightsMismatchError) as error:
        export(root, tmp_path / "out", run=run_graph)
    assert str(error.value) == (
        "The weights of unet do not fit its config.json. Missing: conv_in.weight. Unexpected: "
        "conv_in.extra. Nothing is filled in at random: get the complete checkpoint, or the "
        "config.json that belongs to it."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_weight_of_another_shape_is_refused(tiny: Tiny, tmp_path: Path, export_part: Any) -> None:
    def narrow(tensors: dict[str, Any]) -> dict[str, Any]:
        return tensors | {"conv_in.weight": np.zeros((8, 4, 1, 1), np.float32)}

    root = copied(tiny.checkpoint, tmp_path / "checkpoint")
    change(root / UNET, narrow)
    with pytest.raises(CheckpointError) as error:
        export_part(root, "unet")
    assert str(error.value) == (
        f"Checkpoint {root / 'unet'}: conv_in.weight has the shape (8, 4, 1, 1), where config.json "
        "asks for (8, 4, 3, 3). Get the config.json that belongs to these weights."
    )


def test_several_variants_need_a_choice(tiny: Tiny, tmp_path: Path) -> None:
    root = copied(tiny.checkpoint, tmp_path / "checkpoint")
    for variant in ("fp16", "bf16"):
        shutil.copyfile(root / TEXT, root / f"text_encoder/model.{variant}.safetensors")
    (root / TEXT).unlink()
    with pytest.raises(CheckpointError) as error:
        export(root, tmp_path / "out", run=run_graph)
    assert str(error.value) == (
        f"Checkpoint {root / 'text_encoder'}: there are several variants: 'bf16', 'fp16'. "
        "Say which one, with variant=."
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int8"}, "precision='int8' is not allowed. Choices: fp32, fp16, bf16."),
        ({"opset": 17}, "opset=17 is not allowed. Choices: 18, 19, 20."),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError) as error:
        ExportOptions(**options)
    assert str(error.value) == message


def test_an_existing_folder_is_not_overwritten(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(BundleWriteError, match="it exists already"):
        export(tiny.checkpoint, tmp_path / "out", run=run_graph)
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_a_graph_that_differs_fails_the_export(tiny_export: Path) -> None:
    def slightly_wrong(model: Path, inputs: Any) -> Any:
        return [{name: a * 1.01 for name, a in r.items()} for r in run_graph(model, inputs)]

    folder = tiny_export / "unet"
    references = folder / "reference.safetensors"
    with pytest.raises(ParityError) as error:
        parity.check("unet", folder / "model.onnx", references, 1e-4, slightly_wrong)
    assert str(error.value) == (
        "unet: the relative L2 error against torch is 0.01, and at most 0.0001 is allowed. "
        "The bundle was not written."
    )


EXPORT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.export.graphs import run_graph
from sdopt.export import export
{before}
export({checkpoint!r}, {out!r}, run=run_graph, progress=lambda what, share: print(what, flush=True))
"""


@contextmanager
def exporting(tiny: Tiny, out: Path, before: str = "") -> Iterator[subprocess.Popen[str]]:
    """Export in another process, which does not outlive the block."""
    code = EXPORT.format(
        root=str(Path(__file__).parents[2]),
        before=before,
        checkpoint=str(tiny.checkpoint),
        out=str(out),
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_export_leaves_no_bundle_and_no_processes(
    tiny: Tiny, tmp_path: Path, signal_number: signal.Signals
) -> None:
    with exporting(tiny, tmp_path / "out") as process:
        while len(_members(process.pid)) < 3:  # it and its two workers
            time.sleep(0.05)
        process.send_signal(signal_number)
        process.communicate(timeout=120)
    deadline = time.monotonic() + 30
    while _members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _members(process.pid) == []
    assert not (tmp_path / "out").exists()
    left = [path.name for path in tmp_path.iterdir()]
    assert left == ([] if signal_number == signal.SIGINT else [f".out.{process.pid}.partial"])


def test_a_full_disk_is_an_error_that_says_so(tiny: Tiny, tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
    with exporting(tiny, tmp_path / "out", before=limit) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == (
        f"sdopt.errors.bundle.BundleWriteError: Cannot write the bundle {tmp_path / 'out'}: "
        "File too large. Free some space or choose another folder, and run the command again."
    )
    assert list(tmp_path.iterdir()) == []


def _members(session: int) -> list[str]:
    """List the processes of a session, by their command lines."""
    found = subprocess.run(
        ["ps", "-s", str(session), "-o", "stat=,args="],
        capture_output=True,
        text=True,
        check=False,
    )
    return [line for line in found.stdout.splitlines() if not line.startswith("Z")]
