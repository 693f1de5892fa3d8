"""What follows from runs: counts, costs, evaluations, plots, reports."""
