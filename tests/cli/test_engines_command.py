"""``sdopt engines``: what is listed, what is removed, and why something would be built."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sdopt.bundle.loop_graphs import LOOP_GRAPHS
from sdopt.engines.key import EngineKey
from sdopt.engines.store import EngineStore

Cli = Callable[..., int]
KEY = EngineKey(
    component="unet",
    model_sha256="ab" * 32,
    engine="tensorrt",
    engine_version="11.4.0.106",
    device="NVIDIA H200",
    compute_capability="9.0",
    profile="512x512:1-4",
    options={"workspace": "8GiB"},
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineStore:
    monkeypatch.setenv("SDOPT_CACHE", str(tmp_path))
    return EngineStore()


def put(store: EngineStore, key: EngineKey = KEY) -> Path:
    return store.obtain(key, lambda path: path.write_bytes(b"engine")).parent  # type: ignore[arg-type,return-value]


def test_an_empty_store(cli: Cli, store: EngineStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("engines", "list") == 0
    assert capsys.readouterr().out == f"0 engine(s), 0.0 MB, in {store.folder}\n"


def test_the_list_says_what_each_engine_is_for(
    cli: Cli, store: EngineStore, capsys: pytest.CaptureFixture[str]
) -> None:
    put(store)
    damaged = put(store, replace(KEY, component="vae_decoder"))
    (damaged / "engine.bin").write_bytes(b"eng")
    assert cli("engines", "list") == 0
    first, second, total = capsys.readouterr().out.splitlines()
    assert first.startswith(
        f"{KEY.name}  tensorrt 11.4.0.106, NVIDIA H200 9.0, shapes 512x512:1-4, workspace 8GiB, "
    )
    assert second.endswith("unusable: engine.bin has 3 bytes, where its sidecar says 6")
    assert total == f"2 engine(s), 0.0 MB, in {store.folder}"


def test_the_list_as_json(cli: Cli, store: EngineStore, capsys: pytest.CaptureFixture[str]) -> None:
    entry = put(store)
    assert cli("engines", "list", "--json") == 0
    (said,) = json.loads(capsys.readouterr().out)
    assert said["path"] == str(entry)
    assert said["sidecar"]["key"]["device"] == "NVIDIA H200"


def test_clean_removes_what_cannot_be_used(
    cli: Cli, store: EngineStore, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = put(store)
    damaged = put(store, replace(KEY, component="vae_decoder"))
    (damaged / "engine.json").unlink()
    (store.folder / f".{KEY.name}.abc.partial").mkdir()
    assert cli("engines", "clean") == 0
    assert capsys.readouterr().out == "Removed 1 engine(s), 0.0 MB, and 1 unfinished build(s).\n"
    assert sound.exists()
    assert not damaged.exists()


@pytest.mark.parametrize(
    ("options", "left"), [(["--older-than", 1], 1), (["--older-than", 0], 0), (["--all"], 0)]
)
def test_clean_removes_old_engines_on_request(
    cli: Cli, store: EngineStore, options: list[object], left: int
) -> None:
    put(store)
    assert cli("engines", "clean", *options) == 0
    assert len(list(store.entries())) == left


def test_why_on_onnxruntime(
    cli: Cli, store: EngineStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("engines", "why", "shapes") == 0
    assert set(capsys.readouterr().out.splitlines()) == {
        f"{name:<13} is loaded from its ONNX file: nothing is built for it."
        for name in ("text_encoder", "vae_encoder", "vae_decoder", "unet", *LOOP_GRAPHS)
    }


def test_why_on_openvino(cli: Cli, store: EngineStore, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino")
    from sdopt.bundle.bundle import Bundle
    from sdopt.engines.cores import threads_of
    from sdopt.engines.openvino import OpenVinoEngine
    from sdopt.engines.options import EngineOptions, Model

    OpenVinoEngine(Model.of(Bundle.open("shapes"), "text_encoder"), EngineOptions(threads=3))
    OpenVinoEngine(Model.of(Bundle.open("shapes"), "vae_decoder"))
    capsys.readouterr()
    assert cli("engines", "why", "shapes", "--engine", "openvino") == 0
    lines = capsys.readouterr().out.splitlines()
    ours = threads_of(None) or "all"
    assert (
        f"text_encoder  would be built: options.threads is '{ours}', and the stored engine has '3'."
        in lines
    )
    assert "unet          would be built: none was built yet." in lines
    assert any(line.startswith("vae_decoder   is stored as vae_decoder-") for line in lines)
