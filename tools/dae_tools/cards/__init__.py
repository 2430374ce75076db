"""The card of a bundled model, written as Markdown."""
