"""The same hello from Flask and from Django. FRAMEWORK in the environment says which `app` is."""

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


app = {"flask": flask, "django": django}[os.environ["FRAMEWORK"]]()
