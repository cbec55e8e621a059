"""Many runs: which, how many in parallel, and what came of them."""
