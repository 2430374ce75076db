"""Jobs: many files through one denoiser, with manifest, hot folder and streams."""
