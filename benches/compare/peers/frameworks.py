"""The same hello from Flask and from Django. FRAMEWORK in the environment says which `app` is. With CLOSE in the
environment, for servers that never call the `close` of what they are given (PEP 3333 demands it, and frameworks do the last
of their work there), the application does it itself."""

import os

BODY = "Hello, World!"
TYPE = "text/plain; charset=utf-8"


def flask():
    from flask import Flask, Response

    app = Flask(__name__)
    app.get("/")(lambda: Response(BODY, content_type=TYPE))
    return app


def django():
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    def hello(request):
        return HttpResponse(BODY, content_type=TYPE)

    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=(path("", hello),),
        # What `startproject` puts there and needs no database.
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
        ],
    )
    return get_wsgi_application()


def closing(app):
    def call(environ, start_response):
        result = app(environ, start_response)
        try:
            return list(result)
        finally:
            result.close()

    return call


app = {"flask": flask, "django": django}[os.environ["FRAMEWORK"]]()
if "CLOSE" in os.environ:
    app = closing(app)
