"""Configs: their keys and checks, config files, command-line overrides, JSON."""
