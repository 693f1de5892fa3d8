"""What is refused with a reason, rather than as unknown."""

_NEGATIVE = "a spiking neuron's rate says nothing of negative values; train with ReLU, a clip or a sign"
_CURVED = "it is no straight line, and spike rates add up along straight lines; train with ReLU, a clip or a sign"
_TIME = "it depends on time or on the order of a sequence"
_NORM = "it divides by a statistic of the image at hand; batch normalisation, whose statistics are fixed, is supported"
_FUSED = "quantised products are fused there; export the network with QuantizeLinear and DequantizeLinear (QDQ), or in floats"
_FLOW = "which operators run is decided while it runs; export without branches and loops, or simplify the file"

REASONS: dict[str, str] = {
    **dict.fromkeys(("LeakyRelu", "Elu", "Selu", "Celu"), _NEGATIVE),
    **dict.fromkeys(("Gelu", "HardSwish", "Mish", "Swish", "Softplus", "Softsign", "Erf", "Exp", "Log", "Sqrt", "Reciprocal"), _CURVED),
    **dict.fromkeys(("ThresholdedRelu", "Shrink"), "it jumps at its threshold; train with ReLU"),
    **dict.fromkeys(("LayerNormalization", "InstanceNormalization", "GroupNormalization", "LRN", "LpNormalization"), _NORM),
    **dict.fromkeys(("LSTM", "GRU", "RNN", "CumSum"), _TIME),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "MatMulInteger", "ConvInteger", "QLinearAdd", "DynamicQuantizeLinear"), _FUSED),
    **dict.fromkeys(("If", "Loop", "Scan"), _FLOW),
    "Attention": "a product of two activations has no spiking counterpart",
    "FloatQuant": "floating-point numbers of few bits have no equal steps; quantise to integers (IntQuant)",
    "XnorPopcountMatmul": "it counts agreements of bits; convert the file before FINN's streamlining",
    "Im2Col": "it is half a convolution; convert the file before FINN's lowering of convolutions",
}
