"""The management API under /api/v1 (Django REST framework, sync)."""
