"""Where the denoising loop computes: on the host, or on the UNet's device with the loop graphs."""

from __future__ import annotations

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.loop_graphs import HEAD, TAIL, UnetTensors, head_tensors, tail_tensors
from sdopt.engines.contract import Engine
from sdopt.engines.options import LOOPS
from sdopt.errors import LoopGraphsError, UnknownNameError


def loops_on_device(loop: str, bundle: Bundle, unet: Engine) -> bool:
    """Say whether a UNet's loop shall compute where the UNet does.

    Args:
        loop: ``"host"``, ``"device"``, or ``"auto"``: on the device where the UNet is not on the
            host and the bundle has loop graphs. On the host itself NumPy is faster than graphs.
        bundle: What holds the loop graphs.
        unet: What the engine made of its UNet.

    Raises:
        UnknownNameError: The choice has another name.
        LoopGraphsError: ``"device"``, and the bundle has no graphs for it.
    """
    if loop not in LOOPS:
        raise UnknownNameError("loop", loop, LOOPS)
    if loop == "device" and not _has_graphs(bundle):
        raise LoopGraphsError(bundle.path)
    return loop == "device" or (loop == "auto" and not unet.device.is_host and _has_graphs(bundle))


def _has_graphs(bundle: Bundle) -> bool:
    """Say whether the bundle has loop graphs, and of the kind that this version runs."""
    components = bundle.manifest.components
    if HEAD not in components or TAIL not in components:
        return False
    unet = components["unet"]
    tensors = UnetTensors.of(unet.inputs, unet.outputs, bundle.manifest.latent_channels)
    return all(
        (components[name].inputs, components[name].outputs) == wanted
        for name, wanted in ((HEAD, head_tensors(tensors)), (TAIL, tail_tensors(tensors)))
    )
