"""The site: settings, URLs, ASGI application and Celery application."""

from noa_site.celery import app as celery_app

__all__ = ["celery_app"]
