"""From an ONNX graph to something that runs: one module per backend, behind one contract."""
