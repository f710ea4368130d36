"""Opening graphs as sessions of ONNX Runtime."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdopt.engines.cores import threads_of
from sdopt.engines.onnxruntime.targets import Target
from sdopt.engines.options import EngineOptions, Model
from sdopt.errors import EngineError, ProviderUnavailableError

if TYPE_CHECKING:
    import onnxruntime as ort

FRUGAL_FROM_BYTES = 4e9
"""On disk. ONNX Runtime widens 16-bit weights when it loads them: the UNet of SDXL took 12.8 GB."""
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"


def is_frugal(model: Model, options: EngineOptions) -> bool:
    """Say whether a model's weights stay as they lie on disk. See :class:`EngineOptions`."""
    if options.frugal is not None:
        return options.frugal
    if options.device != "cpu":
        return False
    files = model.path.parent.glob(f"{model.path.name}*")
    return sum(file.stat().st_size for file in files) > FRUGAL_FROM_BYTES


def session_options(ort: Any, model: Model, options: EngineOptions) -> ort.SessionOptions:
    """Return what sessions of a model are opened with."""
    session = ort.SessionOptions()
    session.log_severity_level = 3
    if is_frugal(model, options):
        # Nothing is computed beforehand, and nodes run in the order of the file, where a cast of a
        # weight stands before its reader: by default every cast would run before everything else.
        session.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session.execution_order = ort.ExecutionOrder.PRIORITY_BASED
        session.enable_cpu_mem_arena = session.enable_mem_pattern = False
    threads = threads_of(options.threads)
    if threads is not None:
        session.intra_op_num_threads = threads
    return session


def open_session(
    ort: Any, model: Model, graph: Path | None, settings: ort.SessionOptions, target: Target
) -> ort.InferenceSession:
    """Load a graph with its weights.

    Args:
        ort: The module.
        model: The component.
        graph: A graph that was derived from the component's, and reads the same file of weights;
            None for its own.
        settings: See :func:`session_options`.
        target: Where to compute.

    Raises:
        EngineError: The graph cannot be loaded.
        ProviderUnavailableError: The provider cannot be loaded.
    """
    source: Path | bytes = model.path
    if graph is not None:
        source = graph.read_bytes()
        settings.add_session_config_entry(_WEIGHTS_FOLDER, str(model.path.parent))
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            session = ort.InferenceSession(
                source, settings, providers=target.providers(model), enable_fallback=0
            )
    except Exception as error:  # onnxruntime raises a family of unrelated classes
        path = graph or model.path
        raise EngineError(f"{model.name}: ONNX Runtime cannot load {path}: {error}") from error
    if target.provider not in (there := session.get_providers()):
        hint = (
            f"{target.provider} could not be loaded. It needs {target.needs} of the versions that "
            "this build of ONNX Runtime was made for: pip install 'onnxruntime-gpu[cuda,cudnn]'"
        )
        raise ProviderUnavailableError(f"onnxruntime on {target.name}", there, hint)
    return session


def run_options(ort: Any, target: Target) -> ort.RunOptions | None:
    """Return what each run is told; None for nothing."""
    if not target.run_config:
        return None
    options = ort.RunOptions()
    for name, value in target.run_config.items():
        options.add_run_config_entry(name, value)
    return options
