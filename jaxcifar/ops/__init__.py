"""What a platform computes in its own way: the same functions, to rounding."""
