"""The task `examples`: data that somebody's file holds."""
