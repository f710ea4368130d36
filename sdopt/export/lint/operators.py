"""Rules about single nodes: operators, attributes and types that TensorRT's parser takes.

Source: the table of operators of TensorRT's ONNX parser (onnx-tensorrt 10.15), and
ONNX's own definition of which operands must agree in type.
"""

from __future__ import annotations

from collections.abc import Iterator

from onnx import TensorProto

from sdopt.export.lint.findings import Finding, Graph, attribute, type_name

OPSETS = (17, 24)
"""The smallest and the largest opset of ONNX's own operators that the parser reads."""

_REFUSED = (
    *("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QLinearConv", "QLinearMatMul"),
    *("BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Unique", "Det"),
    *("AffineGrid", "CenterCropPad", "Col2Im", "Compress", "DFT", "MaxRoiPool", "MaxUnpool"),
    *("ImageDecoder", "MelWeightMatrix", "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"),
    *("SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert"),
    *("SequenceLength", "SequenceMap", "SplitToSequence", "ConcatFromSequence"),
    *("Optional", "OptionalGetElement", "OptionalHasElement"),
    *("StringConcat", "StringNormalizer", "StringSplit", "RegexFullMatch", "TfIdfVectorizer"),
)
_RANDOM = (
    *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
    *("Multinomial", "Bernoulli"),
)
_RESIZE = {
    "mode": ("nearest", "linear"),
    "coordinate_transformation_mode": (
        *("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn"),
        *("asymmetric", "align_corners"),
    ),
    "nearest_mode": ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
}
"""What the attributes of Resize may be; the first is ONNX's default."""
_TYPES = (
    *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.BOOL),
    *(TensorProto.INT64, TensorProto.INT32, TensorProto.INT8, TensorProto.INT4),
    *(TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT4E2M1),
)
"""Element types that TensorRT has; DOUBLE has a rule of its own."""
_SAME_TYPES = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "MatMul", "Max", "Min", "Concat", "Sum"), 0),
    **dict.fromkeys(("Gemm", "Conv", "ConvTranspose", "InstanceNormalization", "PRelu"), 0),
    **dict.fromkeys(("LayerNormalization", "GroupNormalization", "BatchNormalization"), 0),
    **dict.fromkeys(("Greater", "Less", "Equal", "GreaterOrEqual", "LessOrEqual"), 0),
    "Where": 1,
}
"""Operators whose operands, from this one on, must have one type: a mix fails the build."""


def opset(graph: Graph) -> Iterator[Finding]:
    """Opset and domains."""
    for imported in graph.model.opset_import:
        if imported.domain not in ("", "ai.onnx"):
            problem = f"operators of {imported.domain!r} belong to one backend; only ONNX's own do"
            yield Finding("foreign-domain", "", problem)
        elif not OPSETS[0] <= imported.version <= OPSETS[1]:
            yield Finding(
                "opset", "", f"opset {imported.version} is not {OPSETS[0]} to {OPSETS[1]}"
            )


def unsupported_operators(graph: Graph) -> Iterator[Finding]:
    """Operators that the parser refuses."""
    for node in graph.nodes:
        if node.op_type in _REFUSED:
            yield Finding(
                "unsupported-operator", node.name, f"TensorRT's parser has no {node.op_type}"
            )


def random_operators(graph: Graph) -> Iterator[Finding]:
    """Noise never lives in a graph: backends ignore its seed."""
    for node in graph.nodes:
        if node.op_type in _RANDOM:
            problem = f"{node.op_type} draws noise, and its seed is ignored; noise is an input"
            yield Finding("random-operator", node.name, problem)


def resize_modes(graph: Graph) -> Iterator[Finding]:
    """Interpolations that the parser has."""
    for node in graph.nodes:
        if node.op_type != "Resize":
            continue
        for name, allowed in _RESIZE.items():
            if (value := attribute(node, name, allowed[0])) not in allowed:
                problem = f"Resize with {name} {value!r}; it must be {' or '.join(allowed)}"
                yield Finding("resize-mode", node.name, problem)


def constant_axes(graph: Graph) -> Iterator[Finding]:
    """Axes must be known when the engine is built."""
    for node in graph.nodes:
        takes_axes = node.op_type.startswith("Reduce") or node.op_type in ("Squeeze", "Unsqueeze")
        if takes_axes and len(node.input) > 1 and not graph.is_constant(node.input[1]):
            problem = f"the axes of {node.op_type} are computed; they must be constant"
            yield Finding("computed-axes", node.name, problem)


def layer_norm_outputs(graph: Graph) -> Iterator[Finding]:
    """The parser gives the normalized output alone."""
    for node in graph.nodes:
        if node.op_type == "LayerNormalization" and graph.used & set(node.output[1:]):
            problem = "the mean or the deviation is read; only the first output is supported"
            yield Finding("layer-norm-outputs", node.name, problem)


def instance_norm_constants(graph: Graph) -> Iterator[Finding]:
    """Scale and bias of an instance norm must be known when the engine is built."""
    for node in graph.nodes:
        if node.op_type == "InstanceNormalization":
            for what, name in zip(("scale", "bias"), node.input[1:], strict=True):
                if not graph.is_constant(name):
                    problem = f"its {what} {name} is computed; it must be a constant"
                    yield Finding("computed-norm", node.name, problem)


def element_types(graph: Graph) -> Iterator[Finding]:
    """Types that TensorRT has."""
    known = {*_TYPES, TensorProto.DOUBLE, TensorProto.UNDEFINED}
    for name, kind in graph.types.items():
        if kind not in known:
            maker = graph.maker(name)
            where = name if maker is None else maker.name
            yield Finding("element-type", where, f"{name} is {type_name(kind)}; TensorRT has none")


def doubles(graph: Graph) -> Iterator[Finding]:
    """There is no float64 in TensorRT."""
    for name, tensor in graph.initializers.items():
        if tensor.data_type == TensorProto.DOUBLE:
            yield Finding("double", name, "the constant is DOUBLE; TensorRT has no such type")
    for node in graph.nodes:
        made = {graph.types.get(name) for name in node.output}
        if TensorProto.DOUBLE in made:
            yield Finding("double", node.name, f"{node.op_type} gives DOUBLE")


def mixed_types(graph: Graph) -> Iterator[Finding]:
    """Operands of different types."""
    for node in graph.nodes:
        first = _SAME_TYPES.get(node.op_type)
        if first is None:
            continue
        types = {name: graph.types.get(name, 0) for name in node.input[first:] if name}
        if len(set(types.values()) - {0}) > 1:
            given = ", ".join(f"{name} is {type_name(kind)}" for name, kind in types.items())
            yield Finding("mixed-types", node.name, f"{node.op_type} of several types: {given}")
