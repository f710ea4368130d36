"""Import: another tool's ONNX folder becomes a bundle. Like export, a composition of rooms.

No torch: the graphs that are imported are what they are compared with.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sdopt
from sdopt.bundle.families import FAMILIES, Family
from sdopt.bundle.manifest import Component, Manifest
from sdopt.bundle.onnx_folder import is_onnx_folder, read_onnx_folder
from sdopt.bundle.onnx_header import read_onnx_header
from sdopt.bundle.reference import ReferencePair, save_reference
from sdopt.bundle.tensors import TensorSpec
from sdopt.bundle.writer import seal, writing_aside
from sdopt.engines.contract import Array
from sdopt.engines.options import Model
from sdopt.errors import MissingDependencyError, OnnxFolderError
from sdopt.export import cases, parity, preview
from sdopt.export.components import COMPONENTS, TOLERANCE
from sdopt.export.loop_graphs import write_loop_graphs
from sdopt.export.progress import Progress, Report
from sdopt.export.timestep_rows import rewrite
from sdopt.runtime.tokenizer import ClipTokenizer
from sdopt.verification import run_apart

_ENGINE = "onnxruntime"
_KEPT_FILES = (".json", ".txt")


def import_onnx(folder: str | Path, out: str | Path, *, progress: Report | None = None) -> Manifest:
    """Make a bundle of an ONNX folder that Optimum or the legacy exporter of diffusers wrote.

    A UNet with one timestep per call is rewritten to one with a timestep for each row; all else is
    copied as it is. What the graphs compute is recorded, so that the bundle can be verified.

    Args:
        folder: The ONNX folder.
        out: The bundle's folder. It must not exist yet, and appears when all of it is there.
        progress: Called with what is being done and the share that is done, 0 to 1.

    Returns:
        The bundle's manifest.

    Raises:
        OnnxFolderError: The folder is not complete, or not of a family that is known.
        ParityError: The rewritten UNet does not compute what the original does.
        BundleWriteError: ``out`` exists already, or the disk is full.
        MissingDependencyError: onnx or onnxruntime is not installed.
    """
    source = Path(folder)
    if find_spec("onnx") is None:
        raise MissingDependencyError("onnx", "export")
    if not is_onnx_folder(source):
        raise OnnxFolderError(
            source,
            "model_index.json or unet/model.onnx is missing",
            "Import takes a folder as Optimum writes it; a diffusers folder or a single file is "
            "exported: sdopt export CHECKPOINT OUT",
        )
    manifest = read_onnx_folder(source)
    with writing_aside(Path(out)) as written:
        return _Importer(source, written, manifest).run(
            Progress(tuple(manifest.components), progress)
        )


class _Importer:
    """Imports one folder; what cases are made of (:class:`sdopt.export.cases.Source`)."""

    def __init__(self, source: Path, out: Path, manifest: Manifest) -> None:
        self._source, self._out, self._manifest = source, out, manifest
        self._outputs: dict[str, list[dict[str, Array]]] = {}

    def run(self, tracker: Progress) -> Manifest:
        """Write the bundle's files and return its manifest."""
        self._copy_documents()
        components: dict[str, Component] = {}
        for name, component in self._manifest.components.items():
            tracker.at(name, "reference")
            components[name] = self._import(name, component)
            tracker.at(name, "checked")
        channels = self._manifest.latent_channels
        components |= write_loop_graphs(self._out, components["unet"], channels)
        complete = replace(
            self._manifest,
            sdopt_version=sdopt.__version__,
            components=components,
            preview=self._preview() if "vae_encoder" in components else None,
            notes=(*self._manifest.notes, "Imported from an ONNX folder of another tool."),
        )
        sealed = seal(self._out, complete)
        tracker.finished()
        return sealed

    def _copy_documents(self) -> None:
        for file in self._source.rglob("*"):
            place = file.relative_to(self._source)
            hidden = any(part.startswith(".") for part in place.parts)
            if file.is_file() and file.suffix in _KEPT_FILES and not hidden:
                (self._out / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, self._out / place)

    def _import(self, name: str, component: Component) -> Component:
        self._copy_graph(name, component)
        header = read_onnx_header(self._out / component.model)
        pairs = self._pairs(name, component, header.inputs)
        reference = f"{name}/reference.safetensors"
        save_reference(self._out / reference, pairs)
        measured = parity.check(
            name,
            self._out / component.model,
            self._out / reference,
            TOLERANCE[component.precision],
            _run,
        )
        save_reference(self._out / reference, [pairs[cases.KEPT]])
        return replace(component, inputs=header.inputs, parity=measured, reference=reference)

    def _copy_graph(self, name: str, component: Component) -> None:
        (self._out / name).mkdir(exist_ok=True)
        for file in (self._source / name).iterdir():
            if file.is_file() and file.suffix not in _KEPT_FILES and file.name != "model.onnx":
                shutil.copyfile(file, self._out / name / file.name)
        graph = self._source / component.model
        if name == "unet":
            rewrite(graph, self._out / component.model)
        else:
            shutil.copyfile(graph, self._out / component.model)

    def _pairs(
        self, name: str, component: Component, inputs: Sequence[TensorSpec]
    ) -> list[ReferencePair]:
        dtypes = {spec.name: spec.dtype for spec in inputs}
        made = [
            cases.rounded({key: array for key, array in case.items() if key in dtypes}, dtypes)
            for case in COMPONENTS[name].cases(self)
        ]
        model = self._source / component.model
        outputs = [_by_rows(model, case, component.inputs) for case in made]
        self._outputs[name] = outputs
        return [
            ReferencePair(case, {k: np.asarray(x, np.float32) for k, x in out.items()})
            for case, out in zip(made, outputs, strict=True)
        ]

    def _preview(self) -> Any:
        model = self._out / self._manifest.components["vae_encoder"].model
        (spec,) = self._manifest.components["vae_encoder"].inputs
        pictures = preview.sample_pictures(self._manifest.vae_scale_factor)
        inputs = [{"sample": picture[None].astype(spec.dtype)} for picture in pictures]
        channels = self._manifest.latent_channels
        means = iter([next(iter(out.values()))[:, :channels] for out in _run(model, inputs)])
        return preview.fit(
            lambda _: np.asarray(next(means), np.float32),
            self._manifest.scaling_factor,
            self._manifest.vae_scale_factor,
        )

    @property
    def family(self) -> Family:
        """See :class:`sdopt.export.settings.Configs`."""
        return FAMILIES[self._manifest.family]

    def config(self, folder: str) -> Mapping[str, Any]:
        """Tell what cases ask of a config, from the graphs. See :class:`Configs`."""
        if folder == "vae":
            return {
                "latent_channels": self._manifest.latent_channels,
                "block_out_channels": range(self._manifest.vae_scale_factor.bit_length()),
                "scaling_factor": self._manifest.scaling_factor,
                "in_channels": 3,
            }
        specs = self._manifest.components[folder].inputs
        shapes = {spec.name: spec.shape for spec in specs}
        if folder == "unet":
            return {
                "in_channels": shapes["sample"][1],
                "addition_embed_type": "text_time" if "text_embeds" in shapes else None,
                "time_cond_proj_dim": shapes.get("timestep_cond", (0, None))[1],
            }
        return {"hidden_size": shapes.get("concept_embeds", (0, 1))[1]}

    def input_ids(self, component: str) -> NDArray[np.int64]:
        """See :class:`sdopt.export.cases.Source`."""
        encoding = next(e for e in self.family.text_encodings if e.component == component)
        tokenizer = ClipTokenizer.from_folder(self._source / encoding.tokenizer)
        return tokenizer(cases.PROMPTS).input_ids

    def encoded(self) -> Mapping[str, cases.Floats]:
        """See :class:`sdopt.export.cases.Source`."""
        columns, found = list[cases.Floats](), dict[str, cases.Floats]()
        for encoding in self.family.text_encodings:
            component = self._manifest.components[encoding.component]
            layers = sum(spec.name.startswith("hidden_states.") for spec in component.outputs) - 1
            columns.append(self._encoded(encoding.component, encoding.output(layers)))
            if encoding.pooled is not None:
                found["text_embeds"] = self._encoded(encoding.component, encoding.pooled)
        return {**found, "encoder_hidden_states": np.concatenate(columns, axis=-1)}

    def _encoded(self, component: str, output: str) -> cases.Floats:
        manifest = self._manifest.components[component]
        width = self.config(component)["hidden_size"]
        made = {"input_ids": self.input_ids(component), "concept_embeds": np.zeros((1, width))}
        inputs = {spec.name: made[spec.name].astype(spec.dtype) for spec in manifest.inputs}
        (result,) = _run(self._source / manifest.model, [inputs])
        return np.asarray(result[output], np.float32)


def _by_rows(
    model: Path, case: Mapping[str, Array], specs: Sequence[TensorSpec]
) -> dict[str, Array]:
    """Run an original graph: row by row where it knows one timestep per call."""
    timestep = next((spec for spec in specs if spec.name == "timestep"), None)
    if timestep is None:
        return _run(model, [case])[0]
    shape = tuple(1 for _ in timestep.shape)
    rows = [
        {
            **{name: array[row : row + 1] for name, array in case.items()},
            "timestep": np.full(shape, case["timestep"][row], timestep.dtype),
        }
        for row in range(len(case["timestep"]))
    ]
    results = _run(model, rows)
    return {name: np.concatenate([result[name] for result in results]) for name in results[0]}


def _run(model: Path, inputs: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
    return run_apart(_ENGINE, Model(model.parent.name, model), inputs).arrays
