"""What the search platform costs, how it grows, and what it survives."""
