"""Clients of model servers, and the translations between their APIs. Async; no Django."""
