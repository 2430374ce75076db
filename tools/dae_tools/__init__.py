"""Development tools, not in the wheel; they may import all three packages."""
