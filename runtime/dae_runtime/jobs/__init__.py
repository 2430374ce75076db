"""Many files, one denoiser: planned, run, noted in a manifest, watched, streamed."""
