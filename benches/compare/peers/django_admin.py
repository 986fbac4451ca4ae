"""A Django project with what most have, for measuring memory: `/admin/login/`, and `/collect`, which collects garbage in
the worker that answers and says which one that was."""

import gc
import os
import time

from django.conf import settings
from django.core.wsgi import get_wsgi_application

settings.configure(
    SECRET_KEY="for measuring only",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.staticfiles",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    STATIC_URL="/static/",
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
app = get_wsgi_application()

from django.contrib import admin  # noqa: E402 (the settings come first)
from django.http import HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402


def collect(request):
    gc.collect()
    # Busy for a moment, so that others answer what is asked at the same time.
    time.sleep(0.05)
    return HttpResponse(str(os.getpid()), content_type="text/plain; charset=utf-8")


urlpatterns = [path("admin/", admin.site.urls), path("collect", collect)]
