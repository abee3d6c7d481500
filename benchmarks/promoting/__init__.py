"""What promotion decides, what it costs, and what kills leave of it."""
