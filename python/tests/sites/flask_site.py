"""A Flask application, with something of everything that frameworks ask of a server."""

import io
import os

from flask import Flask, Response, abort, redirect, request, send_file, session, stream_with_context

application = Flask(__name__)
application.secret_key = "secret"


@application.get("/")
def hello():
    return "hello from flask"


@application.post("/json")
def echo():
    return request.get_json()


@application.post("/upload")
def upload():
    file = request.files["file"]
    return f"{request.form['title']}: {file.filename}, {len(file.read())} bytes"


@application.get("/stream")
def stream():
    def pieces():
        for number in range(3):
            yield f"{number} {request.args['x']}\n"

    return Response(stream_with_context(pieces()), mimetype="text/plain")


@application.get("/count")
def count():
    session["count"] = session.get("count", 0) + 1
    return str(session["count"])


@application.get("/worker")
def worker():
    return str(os.getpid())


@application.get("/boom")
def boom():
    raise ValueError("in flask")


@application.get("/file")
def file():
    return send_file(__file__, conditional=True)


@application.get("/download")
def download():
    return send_file(io.BytesIO(bytes(1000)), as_attachment=True, download_name="zero.bin")


@application.get("/cookies")
def cookies():
    response = Response(" ".join(f"{name}={value}" for name, value in sorted(request.cookies.items())))
    response.set_cookie("first", "1")
    response.set_cookie("second", "2", path="/cookies", httponly=True, samesite="Lax")
    return response


@application.get("/where")
def where():
    return {"url": request.url, "scheme": request.scheme, "from": request.remote_addr, "root": request.root_path}


@application.get("/moved")
def moved():
    return redirect("/")


@application.get("/status/<int:code>")
def status(code):
    return ("", code) if code < 400 else abort(code)


@application.route("/any/<path:rest>", methods=["GET", "PUT", "DELETE", "PATCH"])
def anything(rest):
    return f"{request.method} {rest} {request.get_data(as_text=True)}"


@application.get("/fields")
def fields():
    chosen = {name: value for name, value in request.headers.items() if name.startswith("X-")}
    return dict(sorted(chosen.items()))
