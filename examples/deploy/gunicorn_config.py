"""gunicorn with the gateway's own configuration, and what differs with you: `gunicorn -c gunicorn_config.py`.

The import is what checks the settings, adds up metrics and keeps clients from moving the path that is judged.
It also names what to serve, `gateway.wsgi:application`. `PORT` and `WEB_CONCURRENCY` set port and workers.
"""

from gateway.gunicorn_conf import *  # noqa: F403

worker_class = "gthread"
threads = 8

# Longer than the proxy keeps idle connections (nginx: 60 s), or it would send into one that is being closed.
keepalive = 75

# Shorter than the host waits between SIGTERM and SIGKILL: 30 s with Kubernetes and Heroku, 10 s with Docker.
graceful_timeout = 25

# A worker ends after so many requests and is started anew, for an app that leaks; not all of them at once.
max_requests = 10_000
max_requests_jitter = 1_000

# By a file there, each worker shows that it is alive. On a disk a write can block, and the worker is killed.
worker_tmp_dir = "/dev/shm"  # noqa: S108

# No header of request or response, for there tokens are, and no query string, where some clients put secrets.
accesslog = "-"
access_log_format = '%(h)s %(t)s "%(m)s %(U)s %(H)s" %(s)s %(b)s %(M)sms'
