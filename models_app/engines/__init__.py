"""Local inference as child processes; no Django."""
