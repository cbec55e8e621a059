"""Many runs: which ones, how many in parallel, and a summary of their results."""
