"""What a person runs: scenarios, the command line, runs, figures, reports and benchmarks."""
