"""Applications made with the frameworks that people use, and what each needs."""

from pathlib import Path

HERE = Path(__file__).parent
DJANGO_PROJECT = HERE / "django_project"
FRAMEWORKS = ["flask", "django", "bottle", "falcon", "pyramid"]


def module(name):
    return "shop.wsgi" if name == "django" else f"sites.{name}_site"


def validated(name):
    return f"sites.validated:wrap({module(name)!r})"


def environment(data):
    """Environment variables under which all of them can be imported and keep their data in a directory."""
    return {"PYTHONPATH": f"{HERE.parent}:{DJANGO_PROJECT}", "DATA": str(data), "DAV_ROOT": str(data)}


def source(name):
    """What `/file` of a site answers: itself."""
    return (DJANGO_PROJECT / "books/views.py" if name == "django" else HERE / f"{name}_site.py").read_bytes()
