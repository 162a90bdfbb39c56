"""The first page: what is loaded, how it does, what it costs, what just happened. Rendered once for all who look."""
