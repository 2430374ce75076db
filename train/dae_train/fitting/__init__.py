"""The loop: prepared, fed, stepped, saved."""
