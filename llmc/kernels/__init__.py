"""Triton and CPU kernels, each beside its plain reference."""
