"""Training as one pure function of a key, and sweeps of it over seeds and hyperparameters."""
