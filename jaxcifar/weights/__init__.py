"""A run's weights: restore, evaluate, release, export and import them."""
