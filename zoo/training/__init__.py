"""Devices, optimizers, metrics, and the loop that uses them."""
