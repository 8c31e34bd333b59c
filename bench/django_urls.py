"""One view of Django REST framework, twice: unguarded, and guarded by simplejwt."""

from __future__ import annotations

from collections.abc import Sequence

from django.urls import path
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication


class _Unguarded(APIView):  # type: ignore[misc]  # the library has no types
    authentication_classes: Sequence[type] = ()
    permission_classes: Sequence[type] = ()

    def get(self, request: object) -> Response:
        return Response("ok")


class _Guarded(_Unguarded):
    authentication_classes = (JWTStatelessUserAuthentication,)
    permission_classes = (IsAuthenticated,)


urlpatterns = [path("", _Unguarded.as_view()), path("guarded", _Guarded.as_view())]
