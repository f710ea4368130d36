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
        devices: Where its environment and its advice are for.
        source: Whose advice the settings follow.
    """

    name: str
    library: Library
    settings: Mapping[str, object] = field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu",)
    source: str = ""


_EAGER = "huggingface.co/docs/diffusers/optimization/fp16"
_COMPILED = "huggingface.co/docs/diffusers/optimization/torch2.0"
_OPTIMUM = "huggingface.co/docs/optimum-onnx/onnxruntime/usage_guides/models"
_OPENVINO = "huggingface.co/docs/optimum-intel/openvino/inference"

_EVERYWHERE = ("cpu", "cuda")

_ROWS = (
    *(
        Peer(
            name=f"diffusers-{how}{short}",
            library="diffusers",
            settings={"dtype": dtype, "compiled": bool(how)},
            devices=devices,
            source=source,
        )
        for how, source in (("", _EAGER), ("compiled-", _COMPILED))
        for short, dtype, devices in (
            ("fp32", "float32", _EVERYWHERE),
            ("bf16", "bfloat16", _EVERYWHERE),
            ("fp16", "float16", ("cuda",)),
        )
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


def peers_named(names: str, device: str = "cpu") -> list[Peer]:
    """Return the peers of a list with commas; ``none`` and ``all`` (on the device) are names too.

    Raises:
        UnknownNameError: There is no such peer, or none on this device.
    """
    there = {peer.name: peer for peer in _ROWS if device in peer.devices}
    if names in ("none", "all"):
        return list(there.values()) if names == "all" else []
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in there:
            kind = "peer" if device == "cpu" else f"peer on {device}"
            raise UnknownNameError(kind, name, ("all", "none", *there))
    return [there[name] for name in wanted]
