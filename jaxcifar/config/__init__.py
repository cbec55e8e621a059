"""What a config may hold: fields and checks, config files, overrides, JSON."""
