"""What a built engine depends on: two engines with the same key are interchangeable."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from sdopt.bundle.strict import plain

_DIGEST_LENGTH = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKey:
    """Everything that a built engine depends on.

    Attributes:
        component: The component's name, such as ``"unet"``.
        model_sha256: Of the component's files: graph and weights.
        engine: The backend's name, such as ``"openvino"``.
        engine_version: The backend's full version.
        device: The device's own name, such as ``"NVIDIA H200"``.
        compute_capability: Of an NVIDIA GPU, such as ``"9.0"``; empty for other devices.
        profile: The shapes that it was built for, in words; ``"any"`` where all are allowed.
        options: Everything else that the backend was told, by name.
    """

    component: str
    model_sha256: str
    engine: str
    engine_version: str
    device: str
    compute_capability: str = ""
    profile: str = "any"
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """The engine's folder in the store: the component and a digest of all fields."""
        text = json.dumps(plain(self), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return f"{self.component}-{digest[:_DIGEST_LENGTH]}"

    def differences(self, stored: EngineKey) -> tuple[str, ...]:
        """Say in words in which fields a stored engine's key differs from this one."""
        ours, theirs = _flat(self), _flat(stored)
        return tuple(
            f"{field} is {ours.get(field)!r}, and the stored engine has {theirs.get(field)!r}"
            for field in (*ours, *(theirs.keys() - ours.keys()))
            if ours.get(field) != theirs.get(field)
        )


def _flat(key: EngineKey) -> dict[str, str]:
    fields = plain(key)
    options = fields.pop("options")
    return fields | {f"options.{name}": value for name, value in sorted(options.items())}
