"""The tools of those who make the package: in no wheel; they may import all three packages."""
