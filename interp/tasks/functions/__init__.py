"""Tasks that ask in context for a function's value."""
