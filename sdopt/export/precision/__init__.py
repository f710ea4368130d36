"""What a graph computes in: fp16 or bf16, but for islands of fp32, each with its reason.

Precision lives in the graph, because TensorRT 11 takes every type from there. Networks are traced
in fp32, and :mod:`lowering` puts the casts where :mod:`islands` says.
"""

from sdopt.export.precision.islands import ISLANDS, Island, computed_in, islands_of

__all__ = ["ISLANDS", "Island", "computed_in", "islands_of"]
