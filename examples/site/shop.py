"""The Flask application of a site that is several: see ferricorn.toml beside this file."""

from flask import Flask, url_for

app = Flask(__name__, static_folder=None)


@app.route("/")
def home():
    return f"""<!doctype html>
<link rel="stylesheet" href="/static/style.css">
<title>Shop</title>
<h1>A shop, written in Python</h1>
<ul>
  <li><a href="{url_for("item", name="anvil")}">An anvil</a>
  <li><a href="/blog/">The blog, written in PHP</a>
  <li><a href="/cgi-bin/clock">The clock, a CGI program</a>
</ul>
"""


@app.route("/items/<name>")
def item(name):
    return f"One {name}.\n", {"Content-Type": "text/plain; charset=utf-8"}
