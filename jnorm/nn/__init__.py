"""Layers as pure functions of parameters, explicit state and input."""
