"""Tasks on sentences and brackets: tokens of many lengths, with gold parses."""
