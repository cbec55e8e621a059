"""What the reports claim, judged from the records of runs."""
