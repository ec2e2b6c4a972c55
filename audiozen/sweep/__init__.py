"""Search for good settings of an experiment, by many workers that share a folder. Needs the package optuna."""
