"""Makes HTML reports of runs and of the study."""
