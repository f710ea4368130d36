"""The peers that sdopt is compared with, each used as its own documentation says is fastest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sdopt.errors import UnknownNameError

Library = Literal["diffusers", "optimum", "openvino"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another way to make the same pictures.

    Attributes:
        name: On the command line and in records.
        library: Which branch of ``side.py`` loads it, and which requirements it needs.
        settings: What ``side.py`` is told beside the model.
        source: Whose advice the settings follow.
    """

    name: str
    library: Library
    settings: Mapping[str, object] = field(default_factory=dict)
    source: str = ""


_EAGER = "huggingface.co/docs/diffusers/optimization/fp16"
_COMPILED = "huggingface.co/docs/diffusers/optimization/torch2.0"
_OPTIMUM = "huggingface.co/docs/optimum-onnx/onnxruntime/usage_guides/models"
_OPENVINO = "huggingface.co/docs/optimum-intel/openvino/inference"

_ROWS = (
    Peer(
        name="diffusers-fp32",
        library="diffusers",
        settings={"dtype": "float32", "compiled": False},
        source=_EAGER,
    ),
    Peer(
        name="diffusers-bf16",
        library="diffusers",
        settings={"dtype": "bfloat16", "compiled": False},
        source=_EAGER,
    ),
    Peer(
        name="diffusers-compiled-fp32",
        library="diffusers",
        settings={"dtype": "float32", "compiled": True},
        source=_COMPILED,
    ),
    Peer(
        name="diffusers-compiled-bf16",
        library="diffusers",
        settings={"dtype": "bfloat16", "compiled": True},
        source=_COMPILED,
    ),
    Peer(name="optimum", library="optimum", source=_OPTIMUM),
    Peer(
        name="openvino-fp32",
        library="openvino",
        settings={"precision": "f32"},
        source=_OPENVINO,
    ),
    Peer(
        name="openvino-bf16",
        library="openvino",
        settings={"precision": "bf16"},
        source=_OPENVINO,
    ),
)
PEERS: Mapping[str, Peer] = {peer.name: peer for peer in _ROWS}


def peers_named(names: str) -> list[Peer]:
    """Return the peers of a list with commas; ``none`` and ``all`` are names too.

    Raises:
        UnknownNameError: There is no such peer.
    """
    if names in ("none", "all"):
        return list(_ROWS) if names == "all" else []
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in PEERS:
            raise UnknownNameError("peer", name, ("all", "none", *PEERS))
    return [PEERS[name] for name in wanted]
