"""Many runs: what varies, workers that train them, and the table of what came out."""
