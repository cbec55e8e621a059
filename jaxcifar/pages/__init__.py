"""Makes the HTML pages of runs and of the claims."""
