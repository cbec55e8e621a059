"""What runs and claims look like: one HTML page that needs nothing beside it."""
