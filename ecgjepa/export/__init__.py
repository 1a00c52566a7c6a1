"""Encoders as ONNX files, which need neither torch nor this package to run."""
