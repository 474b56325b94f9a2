"""Pictures: which there are, reading them, and batches of them."""
