"""Training images: read, generated, split, and cut into batches."""
