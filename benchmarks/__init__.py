"""How fast it is, measured against bare loops in the same run."""
