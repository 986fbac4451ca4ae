"""Under the names that Gunicorn has for it."""
