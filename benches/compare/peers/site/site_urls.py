"""The administration's pages, and one that tells which process answers and collects its garbage."""

import gc
import os
import time

from django.contrib import admin
from django.http import HttpResponse
from django.urls import path


def collect(request):
    gc.collect()
    # Long enough for the next request to find another worker.
    time.sleep(0.02)
    return HttpResponse(str(os.getpid()), content_type="text/plain")


urlpatterns = [path("admin/", admin.site.urls), path("collect", collect)]
