"""Arrays of pixels: checked, converted, compared. Numpy alone."""
