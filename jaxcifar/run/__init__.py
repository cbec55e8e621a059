"""What surrounds a run: its folder, checkpoints, metrics, progress, signals and provenance."""
