"""What a worker process does: it is where torch lives. :mod:`sdopt.workers.launch` starts it."""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sdopt.bundle.families import Family
from sdopt.bundle.manifest import Precision
from sdopt.bundle.reference import ReferencePair, save_reference
from sdopt.errors import SdoptError
from sdopt.export import cases, graph, preview, storage, weight_map
from sdopt.export.components import COMPONENTS, DOORS, ComponentRow
from sdopt.export.jobs import Job
from sdopt.export.loading import half_weights, load
from sdopt.export.options import opset_of
from sdopt.export.precision import Island, computed_in, islands_of
from sdopt.export.precision.lowering import lower
from sdopt.export.settings import scaling_factor, vae_scale_factor
from sdopt.export.sources import read_checkpoint
from sdopt.export.trace import trace
from sdopt.export.wrappers import WRAPPERS, make_traceable
from sdopt.workers.failures import failure


class Exporter:
    """Exports the components of one job, one after the other."""

    def __init__(self, job: Job, out: TextIO) -> None:
        self._job, self._out = job, out
        self._checkpoint = read_checkpoint(job.checkpoint, job.variant, job.prediction_type)

    def run(self) -> None:
        """Export every component of the job, and say so."""
        for name in self._job.components:
            self._export(COMPONENTS[name])
            gc.collect()

    def _export(self, row: ComponentRow) -> None:
        (self._job.out / row.name).mkdir(exist_ok=True)
        self._say(row, "load")
        inputs = [cases.rounded(case, self._dtypes(row)) for case in row.cases(self)]
        network = load(self._checkpoint.models[row.folder], torch.float32)
        self._say(row, "reference")
        self._write_references(row, [self._reference(row, network, case) for case in inputs])
        fitted = self._preview(network) if row.name == "vae_encoder" else None
        self._say(row, "trace")
        nodes, held = self._write_graph(row, network)
        self._say(row, "done", preview=fitted, nodes=nodes, islands=held)

    def _write_references(self, row: ComponentRow, pairs: Sequence[ReferencePair]) -> None:
        save_reference(self._job.scratch / f"{row.name}.safetensors", pairs)
        save_reference(self._job.out / row.name / "reference.safetensors", [pairs[cases.KEPT]])

    def _write_graph(self, row: ComponentRow, network: nn.Module) -> tuple[int, dict[str, int]]:
        """Trace in float32, lower, write; return how many nodes there are, and in each island."""
        model, precision = self._checkpoint.models[row.folder], self._precision(row)
        names = set(network.state_dict())
        halves = half_weights(model, network) if precision == "fp32" else set[str]()
        make_traceable(network)
        wide = row.inputs(self, "float32"), row.outputs(self, "float32")
        traced = trace(WRAPPERS[row.name](network).eval(), *wide, self._job.opset)
        parameters = graph.simplify(traced)
        inputs, outputs = row.inputs(self, DOORS[precision]), row.outputs(self, DOORS[precision])
        if precision == "fp32":
            held = dict.fromkeys((i.name for i in self._islands(row)), len(traced.graph))
        else:
            held = lower(traced.graph, precision, self._islands(row), (*inputs, *outputs))
        traced.opset_imports[""] = opset_of(precision, self._job.opset)
        graph.finish(traced, parameters, inputs, outputs)
        storage.store_as_half(traced.graph, halves)
        self._say(row, "write")
        weight_map.write(traced.graph, names, self._job.out / row.name)
        storage.save(traced, self._job.out / row.name / "model.onnx")
        return len(traced.graph), held

    def _islands(self, row: ComponentRow) -> tuple[Island, ...]:
        job = self._job
        return islands_of(self, row.folder, job.precision, job.without_islands)

    def _precision(self, row: ComponentRow) -> Precision:
        return computed_in(self._job.precision, self._islands(row))

    def _dtypes(self, row: ComponentRow) -> dict[str, str]:
        specs = row.inputs(self, DOORS[self._precision(row)])
        return {spec.name: spec.dtype for spec in specs}

    @property
    def family(self) -> Family:
        """See :class:`sdopt.export.settings.Configs`."""
        return self._checkpoint.family

    def config(self, folder: str) -> Mapping[str, Any]:
        """See :class:`sdopt.export.settings.Configs`."""
        return self._checkpoint.config(folder)

    def input_ids(self, component: str) -> NDArray[np.int64]:
        """See :class:`sdopt.export.cases.Source`."""
        from transformers import CLIPTokenizer

        encoding = next(e for e in self.family.text_encodings if e.component == component)
        written, own = (p / encoding.tokenizer for p in (self._job.out, self._job.checkpoint))
        folder = written if written.is_dir() else own
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        tokens = self.config(component)["max_position_embeddings"]
        ids = tokenizer(
            list(cases.PROMPTS), padding="max_length", max_length=tokens, truncation=True
        )
        return np.asarray(ids["input_ids"], np.int64)

    def encoded(self) -> dict[str, cases.Floats]:
        """See :class:`sdopt.export.cases.Source`."""
        columns, found = list[cases.Floats](), dict[str, cases.Floats]()
        for encoding in self.family.text_encodings:
            outputs = self._encoded(encoding.component)
            layers = self.config(encoding.component)["num_hidden_layers"]
            columns.append(outputs[encoding.output(layers)])
            if encoding.pooled is not None:
                found["text_embeds"] = outputs[encoding.pooled]
        return {**found, "encoder_hidden_states": np.concatenate(columns, axis=-1)}

    def _encoded(self, component: str) -> Mapping[str, cases.Floats]:
        row = COMPONENTS[component]
        network = load(self._checkpoint.models[row.folder], torch.float32)
        vectors = np.zeros((1, self.config(row.folder)["hidden_size"]), np.float32)
        case = {"input_ids": self.input_ids(component), "concept_embeds": vectors}
        outputs = self._reference(row, network, case).outputs
        return {name: array.astype(np.float32) for name, array in outputs.items()}

    def _reference(self, row: ComponentRow, network: nn.Module, case: cases.Case) -> ReferencePair:
        wide = [
            torch.from_numpy(x.astype(np.float32) if x.dtype == np.float16 else x)
            for x in case.values()
        ]
        with torch.inference_mode():
            result = WRAPPERS[row.name](network)(*wide)
        results = result if isinstance(result, tuple) else (result,)
        names = [spec.name for spec in row.outputs(self, "float32")]
        return ReferencePair(case, {n: r.numpy() for n, r in zip(names, results, strict=True)})

    def _preview(self, network: nn.Module) -> Any:
        vae = self.config("vae")

        def encode(picture: cases.Floats) -> cases.Floats:
            with torch.inference_mode():
                parameters = WRAPPERS["vae_encoder"](network)(torch.from_numpy(picture))
            return parameters.chunk(2, dim=1)[0].numpy()

        fitted = preview.fit(encode, scaling_factor(vae), vae_scale_factor(vae))
        return {"matrix": fitted.matrix, "bias": fitted.bias}

    def _say(self, row: ComponentRow, stage: str, **more: Any) -> None:
        print(
            json.dumps({"component": row.name, "stage": stage, **more}), file=self._out, flush=True
        )


def work(job: str, out: TextIO) -> int:
    """Do a job and return the process's exit status.

    Args:
        job: What to export, as :meth:`sdopt.export.jobs.Job.to_json` wrote it.
        out: Where lines of JSON about it go.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        Exporter(Job.from_json(job), out).run()
    except (SdoptError, OSError) as error:
        print(json.dumps({"failure": failure(error)}), file=out, flush=True)
        return 1
    return 0
