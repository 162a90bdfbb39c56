"""Speaks to models over a wire. Async; no Django."""
