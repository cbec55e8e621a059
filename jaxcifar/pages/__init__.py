"""The HTML pages of the command `report`."""
