"""Describes each chart once, as plain data, and draws it as PNG. The HTML pages draw it as SVG."""
