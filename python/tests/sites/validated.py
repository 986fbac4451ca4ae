"""Any application, watched by wsgiref.validate: `sites.validated:wrap("sites.flask_site")`."""

import importlib
from wsgiref.validate import validator


def wrap(name):
    application = validator(importlib.import_module(name).application)

    def watched(environ, start_response):
        # Werkzeug reads such a stream to its end without a size, which the validator forbids to applications.
        environ.pop("wsgi.input_terminated", None)
        return application(environ, start_response)

    return watched
