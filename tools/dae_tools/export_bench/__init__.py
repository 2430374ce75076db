"""The exported graphs timed beside other ways to run them, and beside other denoisers."""
