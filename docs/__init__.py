"""The site: its pages, and the command that builds it."""
