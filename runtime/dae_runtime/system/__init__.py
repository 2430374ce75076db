"""System utilities: processor, threads, atomic files, messages."""
