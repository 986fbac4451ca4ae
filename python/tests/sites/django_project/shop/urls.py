from books import views
from django.contrib import admin
from django.urls import path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", views.hello),
    path("release", views.release),
    path("json", views.echo),
    path("upload", views.upload),
    path("stream", views.stream),
    path("count", views.count),
    path("worker", views.worker),
    path("boom", views.boom),
    path("file", views.file),
    path("download", views.download),
    path("cookies", views.cookies),
    path("where", views.where),
    path("moved", views.moved),
    path("status/<int:code>", views.status),
    path("any/<path:rest>", views.anything),
    path("fields", views.fields),
    path("large", views.large),
    path("books", views.books),
]
