"""What is valid: shapes that cross our boundary, the states, the allowed moves."""
