import io
import json
import os

from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.views.decorators.csrf import csrf_exempt

from .models import Book

RELEASE = "first"


def hello(request):
    return HttpResponse("hello from django")


def release(request):
    return HttpResponse(RELEASE)


@csrf_exempt
def echo(request):
    return JsonResponse(json.loads(request.body), safe=False)


@csrf_exempt
def upload(request):
    file = request.FILES["file"]
    return HttpResponse(f"{request.POST['title']}: {file.name}, {len(file.read())} bytes")


def stream(request):
    text = request.GET["x"]
    return StreamingHttpResponse((f"{number} {text}\n" for number in range(3)), content_type="text/plain")


def count(request):
    request.session["count"] = request.session.get("count", 0) + 1
    return HttpResponse(str(request.session["count"]), headers={"X-Worker": os.getpid()})


def worker(request):
    return HttpResponse(str(os.getpid()))


def boom(request):
    raise ValueError("in django")


def file(request):
    return FileResponse(open(__file__, "rb"))


def download(request):
    return FileResponse(io.BytesIO(bytes(1000)), as_attachment=True, filename="zero.bin")


def cookies(request):
    response = HttpResponse(" ".join(f"{name}={value}" for name, value in sorted(request.COOKIES.items())))
    response.set_cookie("first", "1")
    response.set_cookie("second", "2", path="/cookies", httponly=True, samesite="Lax")
    return response


def where(request):
    return JsonResponse(
        {
            "url": request.build_absolute_uri(),
            "scheme": request.scheme,
            "from": request.META["REMOTE_ADDR"],
            "forwarded": request.META.get("HTTP_X_FORWARDED_FOR"),
        }
    )


def moved(request):
    return redirect("/")


def status(request, code):
    return HttpResponse("" if code < 400 else f"status {code}", status=code)


@csrf_exempt
def anything(request, rest):
    return HttpResponse(f"{request.method} {rest} {request.body.decode()}")


def fields(request):
    return JsonResponse({name: value for name, value in sorted(request.headers.items()) if name.startswith("X-")})


def large(request):
    return HttpResponse("a line of text that can be compressed\n" * 10_000, content_type="text/plain")


def books(request):
    return JsonResponse({book.title: book.pages for book in Book.objects.order_by("title")})
