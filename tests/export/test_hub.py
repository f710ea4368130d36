"""Models by their hub id, from a small hub on loopback: the real client, no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sdopt.errors import HubError
from sdopt.export.hub import HubModel, needed
from tests.export.small_hub import COMMIT, SmallHub, serving

ROOT = Path(__file__).parents[2]
FETCH = """
import json, sys
from sdopt.errors import SdoptError
from sdopt.export.sources import locate
said = []
try:
    path = locate(sys.argv[1], report=lambda what, share: said.append(what))
    print(json.dumps({"path": str(path), "said": said}))
except SdoptError as error:
    print(json.dumps({"error": str(error), "said": said}))
"""
NEEDED = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "tokenizer/merges.txt",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "unet/config.json",
    "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.json",
]
OTHERS = [
    "README.md",
    "safety_checker/model.safetensors",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/pytorch_model.bin",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.bin",
    "v1-5-pruned.safetensors",
    "vae/diffusion_pytorch_model.fp16.safetensors",
]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SmallHub]:
    folder = tmp_path / "served"
    for name in (*NEEDED, *OTHERS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 1000)
    with serving(folder) as hub:
        yield hub


def fetch(hub: SmallHub | None, cache: Path, model: str, **environment: str) -> dict[str, Any]:
    """Fetch in a process of its own: huggingface_hub reads its environment when imported."""
    settings = {
        "HF_HOME": str(cache),
        "HF_ENDPOINT": hub.url if hub else "http://127.0.0.1:9",
        "PYTHONPATH": str(ROOT),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_ETAG_TIMEOUT": "2",
    }
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FETCH, model],
        env=kept | settings | environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=cache.parent,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_only_what_is_needed_is_downloaded_and_only_once(hub: SmallHub, tmp_path: Path) -> None:
    first = fetch(hub, tmp_path / "cache", "acme/tiny@v1")
    folder = Path(first["path"])
    assert sorted(name for name, _ in hub.downloads) == sorted(NEEDED)
    assert all((folder / n).read_bytes() == (hub.folder / n).read_bytes() for n in NEEDED)
    assert folder.name == COMMIT
    assert first["said"][0] == "downloading model_index.json (0.0 of 0.0 GB)"
    assert len(first["said"]) == len(NEEDED)
    assert fetch(hub, tmp_path / "cache", "acme/tiny@v1")["path"] == first["path"]
    assert len(hub.downloads) == len(NEEDED)
    offline = fetch(None, tmp_path / "cache", f"acme/tiny@{COMMIT}", HF_HUB_OFFLINE="1")
    assert offline["path"] == first["path"]


def test_an_interrupted_download_goes_on_where_it_was(hub: SmallHub, tmp_path: Path) -> None:
    name = "unet/diffusion_pytorch_model-00001-of-00002.safetensors"
    content = bytes(range(256)) * 100_000  # more than the client keeps in memory before it writes
    (hub.folder / name).write_bytes(content)
    hub.cut_after = 20_000_000
    result = fetch(hub, tmp_path / "cache", "acme/tiny")
    again = fetch(hub, tmp_path / "cache", "acme/tiny") if "error" in result else result
    assert (Path(again["path"]) / name).read_bytes() == content
    begins = [begin for asked, begin in hub.downloads if asked == name]
    assert begins[0] == 0
    assert begins[-1] > 0


def test_a_gated_model_asks_for_a_token_and_takes_it(hub: SmallHub, tmp_path: Path) -> None:
    assert fetch(hub, tmp_path / "cache", "acme/gated")["error"] == (
        "Hub model acme/gated: it is gated: its owner wants you to agree to conditions first. "
        "Agree at https://huggingface.co/acme/gated, and log in with `hf auth login` or set "
        "HF_TOKEN."
    )
    assert "path" in fetch(hub, tmp_path / "cache", "acme/gated", HF_TOKEN="hf_good")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "acme/other",
            "Hub model acme/other: there is no such model, or it is private. Check its name; for a "
            "private one log in with `hf auth login` or set HF_TOKEN.",
        ),
        (
            "acme/tiny@v9",
            "Hub model acme/tiny@v9: it has no revision 'v9'. "
            "Choose one of those at https://huggingface.co/acme/tiny/tree/main.",
        ),
    ],
)
def test_what_is_not_there_is_said(hub: SmallHub, tmp_path: Path, model: str, message: str) -> None:
    assert fetch(hub, tmp_path / "cache", model)["error"] == message


def test_without_a_network(tmp_path: Path) -> None:
    error = fetch(None, tmp_path / "cache", "acme/tiny")["error"]
    assert error.startswith("Hub model acme/tiny: it cannot be downloaded (")
    assert error.endswith(
        "Try again: what has been downloaded is kept. With HF_HUB_OFFLINE=1 a model that was "
        "downloaded before is taken from the cache."
    )
    assert fetch(None, tmp_path / "cache", "acme/tiny", HF_HUB_OFFLINE="1")["error"] == (
        "Hub model acme/tiny: it is not in the hub's cache, and HF_HUB_OFFLINE forbids to download "
        "it. Unset HF_HUB_OFFLINE, or download it where the network is."
    )


def test_a_folder_comes_before_the_hub(tmp_path: Path) -> None:
    (tmp_path / "acme" / "tiny").mkdir(parents=True)
    (tmp_path / "cache").mkdir()
    assert fetch(None, tmp_path / "cache", "acme/tiny")["path"] == "acme/tiny"


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("acme/tiny", HubModel("acme/tiny")),
        ("acme/tiny-v1.5@fp16", HubModel("acme/tiny-v1.5", "fp16")),
        ("acme/tiny@refs/pr/7", HubModel("acme/tiny", "refs/pr/7")),
        ("/acme/tiny", None),
        ("./acme/tiny", None),
        ("tiny", None),
        ("acme/tiny/unet", None),
    ],
)
def test_ids_are_told_from_paths(text: str, model: HubModel | None) -> None:
    assert HubModel.parse(text) == model


def choose(names: list[str], variant: str | None = None) -> list[str]:
    return needed(HubModel("acme/tiny"), names, variant)


def test_a_variant_is_chosen_as_in_folders() -> None:
    plain = {name for name in NEEDED if "unet" not in name}
    everything = [*NEEDED, *OTHERS]
    assert set(choose(everything)) == set(NEEDED)
    halves = set(choose(everything, "fp16"))
    assert {name for name in halves if "safetensors" in name} == {
        name for name in OTHERS if ".fp16." in name
    }
    only_halves = [name for name in everything if name not in plain or "safetensors" not in name]
    assert "vae/diffusion_pytorch_model.fp16.safetensors" in choose(only_halves)


def refused(names: list[str], variant: str | None = None) -> str:
    with pytest.raises(HubError) as error:
        choose(names, variant)
    return str(error.value)


def test_repositories_without_what_is_needed_are_refused() -> None:
    assert refused(["v1-5-pruned.safetensors"]) == (
        "Hub model acme/tiny: there is no model_index.json in it. Choose a model in the diffusers "
        "layout, or download its single safetensors file and export that."
    )
    pickled = ["model_index.json", "vae/config.json", "vae/diffusion_pytorch_model.bin"]
    assert refused(pickled) == (
        "Hub model acme/tiny: vae/ holds no safetensors weights. Pickled weights (.bin, .ckpt) can "
        "run any code and are never read. Ask the owner for safetensors, or choose another "
        "revision."
    )
    assert refused(NEEDED, "fp8") == (
        "Hub model acme/tiny: vae/ holds no variant 'fp8'. Variants there: none."
    )
