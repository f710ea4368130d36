"""Which engine is taken, and what is said of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sdopt.engines.catalog import ENGINES, choose, open_engine, stored_key
from sdopt.engines.offer import Offer
from sdopt.engines.options import EngineOptions, Model
from sdopt.errors import ProviderUnavailableError, UnknownNameError

OFFERS = {
    "sdopt.engines.onnxruntime": Offer("onnxruntime", 20, "ONNX Runtime computes in fp32"),
    "sdopt.engines.openvino": Offer("openvino", 10, "OpenVINO computes in bf16"),
}


def offering(monkeypatch: pytest.MonkeyPatch, offers: dict[str, Offer]) -> None:
    for module in OFFERS:
        offer = offers.get(module)
        monkeypatch.setattr(f"{module}.offer", lambda _, offer=offer: offer)


def test_an_engine_that_was_asked_for_is_taken() -> None:
    assert [choose(name).engine for name in ENGINES] == list(ENGINES)
    assert choose("onnxruntime").reason == "asked for"


def test_auto_takes_the_fastest_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    offering(monkeypatch, OFFERS)
    choice = choose("auto")
    assert choice.engine == "openvino"
    assert choice.reason == (
        "the fastest of those installed: OpenVINO computes in bf16; ONNX Runtime computes in fp32"
    )


def test_without_bf16_auto_takes_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = {"sdopt.engines.openvino": Offer("openvino", 30, "OpenVINO has only fp32")}
    offering(monkeypatch, OFFERS | slow)
    assert choose("auto").engine == "onnxruntime"


def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    offering(monkeypatch, {"sdopt.engines.openvino": OFFERS["sdopt.engines.openvino"]})
    assert choose("auto").engine == "openvino"


def test_auto_without_any_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    offering(monkeypatch, {})
    with pytest.raises(ProviderUnavailableError) as caught:
        choose("auto")
    assert str(caught.value) == (
        "'an engine for cpu' is not available here. Available: none. "
        "Install one, for instance with: pip install 'sdopt[cpu]'."
    )


def test_auto_asks_the_backends_themselves() -> None:
    """Without OpenVINO, in a process where it cannot be imported, ONNX Runtime is taken."""
    code = (
        "import sys; sys.modules['openvino'] = None\n"
        "from sdopt.engines.catalog import choose; print(choose('auto').reason)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "the fastest of those installed: ONNX Runtime computes in the bundle's precision\n"
    )


@pytest.mark.parametrize(
    ("engine", "device", "message"),
    [
        (
            "openvimo",
            "cpu",
            "Unknown engine 'openvimo'. Did you mean 'openvino'? "
            "Choices: onnxruntime, onnxruntime-tensorrt, openvino, tensorrt, auto.",
        ),
        ("auto", "tpu", "Unknown device 'tpu'. Did you mean 'gpu'? Choices: cpu, gpu, cuda."),
    ],
)
def test_an_unknown_name(tmp_path: Path, engine: str, device: str, message: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        open_engine(engine, Model("unet", tmp_path), EngineOptions(device=device))
    assert str(caught.value) == message


def test_onnxruntime_on_the_cpu_keeps_nothing(tmp_path: Path) -> None:
    assert stored_key("onnxruntime", Model("unet", tmp_path, "ab"), EngineOptions()) is None
