"""What an experiment is: its TOML, its training options, its strategies."""
