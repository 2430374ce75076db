"""Settings of a run: validated, read and written without a framework."""
