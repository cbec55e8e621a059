"""The claims of the reports, the records of runs, and the verdicts."""
