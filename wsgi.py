"""The door to `gateway.wsgi`, for `gunicorn wsgi:application`."""

from gateway.wsgi import application

__all__ = ["application"]
