"""ONNX files: standard operators only, sizes and counts free, a description inside."""
