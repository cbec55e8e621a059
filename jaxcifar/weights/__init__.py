"""The weights of a run: restored, scored, released, exchanged with PyTorch."""
