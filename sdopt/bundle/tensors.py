"""Names, types and shapes of the tensors that go into and come out of a component."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a component's graph.

    Attributes:
        name: The tensor's name in the graph, as Hugging Face's ONNX exports call it.
        dtype: NumPy's name of the element type, such as ``"float32"`` or ``"int64"``.
        shape: One entry per dimension: its size, or the name of a dimension that varies, such as
            ``"batch"`` or ``"latent_height"``.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"
