"""The files of a run: its folder, config, checkpoints and metrics."""
