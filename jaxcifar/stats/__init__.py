"""Intervals and tests for accuracies and for few seeds, and calibration."""
