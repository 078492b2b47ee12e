"""Tasks that ask in context for a factor of an image."""
