"""The format of a checkpoint: writing it, checking it, reading it."""
