"""Training images: found, read, made, cut."""
