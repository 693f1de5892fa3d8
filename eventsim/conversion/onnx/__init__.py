"""ONNX and QONNX files, read as graphs: :func:`eventsim.conversion.from_onnx.from_onnx` is the way in.

``files`` reads a model and the weights beside it; ``folding`` computes what depends on constants alone; ``reader`` goes through
the nodes; ``operators`` holds what each of them becomes.
"""
