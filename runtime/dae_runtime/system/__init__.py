"""The machine below: processor, threads, files that are whole or not there, words for people."""
