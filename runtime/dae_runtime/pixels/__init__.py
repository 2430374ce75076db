"""Check, convert and compare pixel arrays. Needs numpy only."""
