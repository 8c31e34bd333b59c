"""The door to `gateway.gunicorn_conf`, found by gunicorn in its working directory."""

from gateway.gunicorn_conf import *  # noqa: F403
