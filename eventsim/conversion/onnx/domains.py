"""Names of the sets that operators are of."""

STANDARD = ("", "ai.onnx")
GENERAL = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
CHANNELS_LAST = "qonnx.custom_op.channels_last"
# The version of the operators inside those, which say nothing of it.
CHANNELS_FIRST_OPSET = 13
# What others mean, and what to do about it.
ADVICE = {
    "com.microsoft": "written by ONNX Runtime's optimiser or quantiser; save the model without its optimisation",
    "com.microsoft.nchwc": "written by ONNX Runtime's optimiser; save the model without its optimisation",
    "ai.onnx.ml": "of classical machine learning, not of networks",
    "pkg.onnxscript.torch_lib": "a function of PyTorch's exporter; inline it with onnx.inliner.inline_local_functions",
}
