"""OpenVINO files (IR): made from an ONNX file, with weights of 32, 16 or 8 bits."""
