"""A module a topic: ``Config``, its reduced ``QUICK``, functions that measure and draw, and ``CLAIMS``."""
