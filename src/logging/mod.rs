//! Gunicorn's error and access logs.
