import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = get_wsgi_application()
# Views are imported with the first request otherwise, and what is wrong with them would be found only then.
get_resolver().url_patterns
