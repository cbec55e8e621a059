"""The pictures, drawn without a screen."""
