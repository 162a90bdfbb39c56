"""The views of the management API."""
