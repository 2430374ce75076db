"""A bucket of an object store, through the package obstore; its errors become ours, with no part of a request in them."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ..errors import ImageError, MissingDependencyError
from .storage import Stamp, stamp_of_object

RETRIES = 4
"""Most further attempts at a request that a store answers with 503 or another error of its own, or not at all."""
RETRY_S = 120
"""Most seconds over all attempts."""
_REMEDY = "the extra `store` is not installed (pip install '.[store]', in the folder that this package was installed from)"
_STATUS = re.compile(r"status code: (\d{3} [A-Za-z ]+)")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_NO_BUCKET = "there is no such bucket"
_WORDS = {
    "account must be specified": "AZURE_STORAGE_ACCOUNT_NAME is not set",
    "PermissionDeniedError": "the store refuses access with these credentials",
    "UnauthenticatedError": "the store does not accept these credentials",
    "NotSupportedError": "the store does not support this",
    "error sending request": "the store cannot be reached, or did not answer in time",
    "operation timed out": "the store did not answer in time",
    "missing credentials": "there are no credentials for the store",
}


@dataclass(frozen=True)
class Found:
    """An object of a list."""

    key: str
    stamp: Stamp


class TakenError(Exception):
    """An object has the name of one to be created."""


class Bucket:
    """Objects by their keys. Requests are tried again within limits; all methods may be called by several threads.

    Args:
        scheme: `s3`, `gs` or `az`.
        name: Of the bucket, or of the container.

    Raises:
        MissingDependencyError: obstore is not installed.
        ImageError: The environment does not tell how to reach the store. Each method raises it where the store fails.
    """

    def __init__(self, scheme: str, name: str) -> None:
        try:
            import obstore
            from obstore import store
        except ImportError as error:
            raise MissingDependencyError(f"{scheme}:// needs the package obstore: {_REMEDY}.") from error
        self.url = f"{scheme}://{name}"
        self._obstore: Any = obstore
        kind: Any = {"s3": store.S3Store, "gs": store.GCSStore, "az": store.AzureStore}[scheme]
        plain = any(
            os.environ.get(key, "").startswith("http://")
            for key in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT")
        )
        with self._errors("", "cannot be opened"):
            self._store = kind(
                name,
                **({"config": {"aws_allow_http": "true"}} if scheme == "s3" and plain else {}),
                retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_S)},
            )

    def get(self, key: str) -> bytes:
        """Return the content of an object."""
        with self._errors(key, "cannot be read"):
            return bytes(self._obstore.get(self._store, key).bytes())

    def stamp(self, key: str) -> Stamp | None:
        """Return the stamp of an object; None if there is none."""
        with self._errors(key, "cannot be looked at"):
            try:
                found = self._obstore.head(self._store, key)
            except FileNotFoundError:
                return None
            return stamp_of_object(found["size"], found["e_tag"], found["last_modified"])

    def put(self, key: str, content: bytes, create: bool = False) -> Stamp:
        """Write an object as a whole and return its stamp.

        Args:
            key: Its name.
            content: All of it.
            create: Write no object that there is already, if the store heeds that.

        Raises:
            TakenError: `create`, and there is one.
        """
        mode = "create" if create else "overwrite"
        with self._errors(key, "cannot be written"):
            try:
                written = self._obstore.put(self._store, key, content, mode=mode, use_multipart=False)
            except self._obstore.exceptions.AlreadyExistsError:
                raise TakenError from None
        return stamp_of_object(len(content), written["e_tag"], None)

    def delete(self, key: str) -> None:
        """Delete an object."""
        with self._errors(key, "cannot be deleted"):
            self._obstore.delete(self._store, key)

    def move(self, key: str, to: str) -> None:
        """Give an object another name, within the store."""
        with self._errors(key, "cannot be moved"):
            self._obstore.copy(self._store, key, to)
            self._obstore.delete(self._store, key)

    def walk(self, prefix: str) -> Iterator[Found]:
        """Yield all objects below a prefix, sorted as the store sorts."""
        with self._errors(prefix, "cannot be listed"):
            for chunk in self._obstore.list(self._store, prefix or None, chunk_size=1000):
                yield from map(_found, chunk)

    def level(self, prefix: str) -> tuple[list[str], list[Found]]:
        """Return the prefixes and the objects right below a prefix."""
        with self._errors(prefix, "cannot be listed"):
            found = self._obstore.list_with_delimiter(self._store, prefix or None)
            return list(found["common_prefixes"]), list(map(_found, found["objects"]))

    def heeds_create(self, prefix: str) -> bool:
        """Try below a prefix whether the store refuses to create an object that there is already, and delete it."""
        key = f"{prefix}/dae-probe-{secrets.token_hex(8)}".removeprefix("/")
        self.put(key, b"")
        try:
            self.put(key, b"", create=True)
        except TakenError:
            return True
        except ImageError:  # the condition is not implemented
            return False
        finally:
            with contextlib.suppress(ImageError):  # many may write, and not delete
                self.delete(key)
        return False

    @contextlib.contextmanager
    def _errors(self, key: str, what: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            what = f"{what}: {_NO_BUCKET if _is_without_bucket(error) else 'there is no such object'}"
            raise ImageError(f"{self.url}/{key}: {what}.") from None
        except (self._obstore.exceptions.BaseError, OSError, ValueError) as error:
            raise ImageError(f"{self.url}/{key}: {what}: {_reason(error)}.") from None


def _found(entry: Any) -> Found:
    return Found(entry["path"], stamp_of_object(entry["size"], entry["e_tag"], entry["last_modified"]))


def _is_without_bucket(error: Exception) -> bool:
    return "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error)


def _reason(error: Exception) -> str:
    """Return why a request failed: in our words, since those of a store may repeat keys and signatures."""
    text, kind = str(error), type(error).__name__
    if _is_without_bucket(error):
        return _NO_BUCKET
    if status := _STATUS.search(text):
        code = _CODE.search(text)
        return f"the store answers {status[1].strip()}{f' ({code[1]})' if code else ''}"
    return next((words for part, words in _WORDS.items() if part == kind or part in text.lower()), f"{kind} of the store")
