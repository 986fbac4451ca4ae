#!/usr/bin/env python3
"""The WSGI hello as a CGI program: everything anew for each request."""

import sys
from pathlib import Path
from wsgiref.handlers import CGIHandler

sys.path.insert(0, str(Path(__file__).parent))
from wsgi import hello  # noqa: E402

CGIHandler().run(hello)
