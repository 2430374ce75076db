"""Settings of a run: checked, read and written, without a framework."""
