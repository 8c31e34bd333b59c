"""`application`: the gateway around the app that `GATEWAY_APP` names, for a WSGI server to serve."""

from __future__ import annotations

import sys

from gateway.errors import ConfigError
from gateway.loading import build
from gateway.startup import settings_at_start

# Of gunicorn's exit codes the one by which a worker says that its app cannot be loaded: the master then
# stops. After any other it would start the worker again, for ever.
APP_LOAD_ERROR = 4

try:
    application = build(settings_at_start())
except ConfigError as error:
    sys.stderr.write(f"{error}\n")
    sys.exit(APP_LOAD_ERROR)
