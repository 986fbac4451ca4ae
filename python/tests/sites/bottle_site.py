"""A Bottle application."""

import os

import bottle

application = bottle.Bottle()


@application.get("/")
def hello():
    return "hello from bottle"


@application.post("/json")
def echo():
    return bottle.request.json


@application.post("/upload")
def upload():
    file = bottle.request.files["file"]
    return f"{bottle.request.forms['title']}: {file.raw_filename}, {len(file.file.read())} bytes"


@application.get("/stream")
def stream():
    for number in range(3):
        yield f"{number} {bottle.request.query['x']}\n"


@application.get("/boom")
def boom():
    raise ValueError("in bottle")


@application.get("/file")
def file():
    return bottle.static_file(os.path.basename(__file__), os.path.dirname(__file__))
