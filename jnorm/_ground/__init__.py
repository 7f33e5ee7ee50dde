"""What every room stands on: argument checks, whole files, names that load when they are asked for."""
