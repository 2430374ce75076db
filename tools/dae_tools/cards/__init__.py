"""Write the card of a bundled model as Markdown."""
