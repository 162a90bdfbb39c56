"""Request and response bodies of the management API."""
