"""Trained models for several images at once, with lists of one length: what ONNX files hold."""
