"""One claim or figure a file; ``python -m experiments`` lists them."""
