"""What a run leaves behind: its folder, checkpoints, log and pictures."""
