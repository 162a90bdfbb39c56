"""NOA's application. Empty on purpose: the runner imports this package without Django."""
