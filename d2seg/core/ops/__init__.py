"""The arithmetic of detection as free functions on tensors.

No classes, no config. Everything here compiles with TorchScript, so eager inference, training and
every export run the same code. Boxes are XYXY in absolute pixels unless a name says otherwise.
"""
