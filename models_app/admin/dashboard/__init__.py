"""The overview page: rendered once per process for all viewers, updated over one stream."""
