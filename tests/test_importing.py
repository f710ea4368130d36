"""ONNX folders of other tools: opened as they are, and imported."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
from onnx import helper

import sdopt
from sdopt.bundle.bundle import Bundle
from sdopt.bundle.carried import locate
from sdopt.bundle.manifest import Manifest
from sdopt.errors import BundleError, InvalidValueError, OnnxFolderError
from sdopt.importing import import_onnx
from tests.onnx_folders import FLOAT, as_legacy, as_optimum, one_timestep

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def bundle() -> Path:
    """The carried bundle: a whole model, and small."""
    return locate("shapes")


@dataclass(frozen=True)
class Imported:
    """An import of what Optimum would have written, and how far it said that it was."""

    folder: Path
    out: Path
    manifest: Manifest
    shares: list[float]


@pytest.fixture(scope="module")
def imported(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    root, shares = tmp_path_factory.mktemp("imported"), list[float]()
    folder = as_optimum(bundle, root / "folder")
    manifest = import_onnx(folder, root / "bundle", progress=lambda _, share: shares.append(share))
    return Imported(folder, root / "bundle", manifest, shares)


def picture(folder: Path, engine: str = "onnxruntime") -> bytes:
    pipeline = sdopt.load(folder, engine=engine, precision="fp32")
    size = {"height": 72, "width": 64}
    result = pipeline("a red circle", num_inference_steps=4, guidance_scale=3, seed=1, **size)
    return result.images[0].tobytes()


def test_the_same_picture_as_from_the_bundle(bundle: Path, imported: Imported) -> None:
    expected = picture(bundle)
    assert picture(imported.folder) == expected
    assert picture(imported.out) == expected


def test_it_is_so_with_folders_of_diffusers_first_exporter(bundle: Path, tmp_path: Path) -> None:
    folder = as_legacy(bundle, tmp_path / "folder")
    expected = picture(bundle)
    assert picture(folder) == expected
    import_onnx(folder, tmp_path / "bundle")
    assert picture(tmp_path / "bundle") == expected


def test_it_is_so_where_each_row_is_computed_by_itself(
    bundle: Path, imported: Imported, tmp_path: Path
) -> None:
    pytest.importorskip("openvino", reason="needs sdopt[openvino]")
    expected = picture(bundle, "openvino")
    assert picture(imported.folder, "openvino") == expected
    assert picture(as_legacy(bundle, tmp_path / "folder"), "openvino") == expected


def test_one_timestep_for_all_rows_cannot_be_compiled_for_one_size(imported: Imported) -> None:
    pytest.importorskip("openvino", reason="needs sdopt[openvino]")
    with pytest.raises(InvalidValueError) as error:
        sdopt.load(imported.folder, engine="openvino", fixed_size="96x96")
    assert str(error.value) == (
        "fixed_size='96x96:1' is not allowed. fixed_size is left out with a UNet of one timestep "
        "for all rows. `sdopt import FOLDER OUT` makes a bundle whose UNet has one for each."
    )


def test_an_imported_bundle_is_whole(bundle: Path, imported: Imported) -> None:
    manifest = imported.manifest
    assert imported.shares
    assert imported.shares == sorted(imported.shares)
    assert manifest.components["unet"].inputs[1].shape == ("batch",)
    assert manifest.components["unet"].inputs[1].dtype == "float32"
    assert manifest.notes == ("Imported from an ONNX folder of another tool.",)
    exported = Bundle.open(bundle).manifest
    assert manifest.family == exported.family
    assert (manifest.defaults.height, manifest.defaults.width) == (96, 96)
    assert manifest.scaling_factor == exported.scaling_factor
    assert manifest.preview is not None
    assert exported.preview is not None
    for ours, theirs in zip(manifest.preview.matrix, exported.preview.matrix, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)
    assert sdopt.verify(imported.out).passed
    component = manifest.components["unet"]
    assert component.parity is not None
    assert 0 <= component.parity.max_error < component.parity.tolerance
    assert component.parity.cases == 2


def test_import_needs_no_torch(bundle: Path, tmp_path: Path) -> None:
    folder = as_optimum(bundle, tmp_path / "folder")
    code = (
        "import sys; sys.modules.update(torch=None, diffusers=None, transformers=None); "
        f"from sdopt.cli.main import main; sys.argv = ['sdopt', 'import', {str(folder)!r}, "
        f"{str(tmp_path / 'out')!r}]; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [
        "text_encoder",
        "vae_encoder",
        "vae_decoder",
        "unet",
        "loop_head",
        "loop_tail",
    ]
    assert lines[-1].startswith(f"{tmp_path / 'out'} holds ")


def test_a_folder_that_was_opened_cannot_be_verified(bundle: Path, tmp_path: Path) -> None:
    folder = as_optimum(bundle, tmp_path / "folder")
    with pytest.raises(OnnxFolderError) as error:
        sdopt.verify(folder)
    assert str(error.value) == (
        f"ONNX folder {folder}: it says neither what its files must be nor what its graphs must "
        "compute. Make a bundle of it first: sdopt import FOLDER OUT."
    )


def no_decoder(folder: Path) -> None:
    shutil.rmtree(folder / "vae_decoder")


def no_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")


def another_family(folder: Path) -> None:
    index = {"_class_name": "ORTFluxPipeline"}
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")


def other_names(folder: Path) -> None:
    path = folder / "vae_decoder" / "model.onnx"
    model = onnx.load(path, load_external_data=False)
    model.graph.input[0].name = "latents"
    onnx.save(model, path)


def no_scheduler(folder: Path) -> None:
    shutil.rmtree(folder / "scheduler")


REFUSALS: dict[Callable[[Path], None], str] = {
    no_decoder: (
        "vae_decoder/model.onnx is missing (Stable Diffusion 1.x). Get the complete folder."
    ),
    no_tokenizer: "tokenizer/ is missing. Get the complete folder.",
    another_family: (
        "model_index.json says _class_name='FluxPipeline', which is no family that sdopt knows. "
        "Known are Stable Diffusion 1.x, 2.x and XL."
    ),
    other_names: (
        "vae_decoder/model.onnx has no tensor latent_sample; it has latents: float32[batch, 4, "
        "latent_height, latent_width], sample: float32[batch, 3, height, width]. Export the model "
        "again with Optimum or sdopt."
    ),
    no_scheduler: (
        "scheduler/scheduler_config.json is no readable JSON ([Errno 2] No such file or directory: "
        "'{folder}/scheduler/scheduler_config.json'). Get the complete folder."
    ),
}


@pytest.mark.parametrize("damage", REFUSALS, ids=lambda damage: damage.__name__)
def test_folders_that_cannot_be_used_are_refused(
    bundle: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    folder = as_optimum(bundle, tmp_path / "folder")
    damage(folder)
    with pytest.raises(OnnxFolderError) as error:
        sdopt.load(folder)
    message = REFUSALS[damage].replace("{folder}", str(folder))
    assert str(error.value) == f"ONNX folder {folder}: {message}"


def test_what_is_no_onnx_folder_is_not_imported(tmp_path: Path) -> None:
    with pytest.raises(OnnxFolderError) as error:
        import_onnx(tmp_path, tmp_path / "out")
    assert str(error.value) == (
        f"ONNX folder {tmp_path}: model_index.json or unet/model.onnx is missing. Import takes a "
        "folder as Optimum writes it; a diffusers folder or a single file is exported: "
        "sdopt export CHECKPOINT OUT."
    )


def test_a_graph_that_cannot_be_rewritten_is_refused(bundle: Path, tmp_path: Path) -> None:
    folder = as_optimum(bundle, tmp_path / "folder")
    path = folder / "unet" / "model.onnx"
    model = onnx.load(path, load_external_data=False)
    twice = helper.make_node("Add", ["timestep", "timestep"], ["twice"], "twice")
    model.graph.node.insert(0, twice)
    onnx.save(model, path)
    with pytest.raises(OnnxFolderError) as error:
        import_onnx(folder, tmp_path / "out")
    assert str(error.value) == (
        f"ONNX folder {path}: Add takes its timestep as it is. "
        "Export the model again with Optimum or sdopt."
    )
    assert not (tmp_path / "out").exists()


def test_a_wrong_rewrite_would_be_found(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(source: Path, out: Path) -> None:
        shutil.copyfile(bundle / "unet" / "model.onnx", out)
        model = onnx.load(out, load_external_data=False)
        for node in model.graph.node:
            if node.op_type == "Sin":
                node.op_type = "Cos"
        onnx.save(model, out)

    folder = as_optimum(bundle, tmp_path / "folder")
    monkeypatch.setattr("sdopt.importing.rewrite", wrong)
    with pytest.raises(sdopt.errors.ParityError, match="unet: the relative L2 error"):
        import_onnx(folder, tmp_path / "out")


def test_damaged_graphs_are_named(bundle: Path, tmp_path: Path) -> None:
    folder = as_optimum(bundle, tmp_path / "folder")
    path = folder / "unet" / "model.onnx"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(
        BundleError, match=r"model.onnx is not a readable ONNX file \(it is cut off"
    ):
        sdopt.load(folder)


def test_several_timesteps_in_one_call(bundle: Path, tmp_path: Path) -> None:
    """Rows at different steps: one by one through a graph with one timestep, the same bits."""
    import numpy as np

    from sdopt.engines.catalog import open_engine
    from sdopt.engines.options import Model
    from sdopt.engines.row_timesteps import RowTimesteps
    from sdopt.engines.timestep_input import has_timestep_per_row

    path = bundle / "unet" / "model.onnx"
    shutil.copytree(bundle / "unet", tmp_path / "unet")
    one_timestep(tmp_path / "unet" / "model.onnx", [], FLOAT)
    whole = open_engine("onnxruntime", Model("unet", path))
    single = open_engine("onnxruntime", Model("unet", tmp_path / "unet" / "model.onnx"))
    assert has_timestep_per_row(whole.inputs)
    assert not has_timestep_per_row(single.inputs)
    random = np.random.default_rng(0)
    buffers = {
        "sample": random.standard_normal((3, 4, 9, 8), np.float32),
        "timestep": np.array([900, 500, 1], np.float32),
        "encoder_hidden_states": random.standard_normal((3, 77, 128), np.float32),
    }
    outputs = [np.zeros((3, 4, 9, 8), np.float32) for _ in range(2)]
    calls = [
        engine.bind({**buffers, "out_sample": out})
        for engine, out in zip((whole, RowTimesteps(single)), outputs, strict=True)
    ]
    for timesteps in ([900, 500, 1], [7, 7, 7]):
        buffers["timestep"][:] = timesteps
        for call in calls:
            call()
        np.testing.assert_array_equal(*outputs)
    run = RowTimesteps(single).run(buffers)
    np.testing.assert_array_equal(run["out_sample"], outputs[0])
