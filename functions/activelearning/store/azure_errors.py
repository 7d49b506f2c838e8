"""What Azure answers, as this project's errors in one plain sentence.

Rule: no address with a signature, no header and no body gets into a sentence; the service's error code does.
"""

import contextlib
from collections.abc import Iterator

from azure.core import exceptions as azure

from activelearning.errors import BlobMissing, Refused, StoreError

_SIGN_IN = "sign in with `az login`, or set AZURE_STORAGE_CONNECTION_STRING"


@contextlib.contextmanager
def plain_errors(account: str, what: str) -> Iterator[None]:
    """Turn what is no race into a sentence: `Refused` where a person can mend it, `StoreError` where time can."""
    try:
        yield
    except azure.ClientAuthenticationError as error:
        raise Refused(_refused(account, what, error)) from None
    except azure.ResourceNotFoundError:
        raise BlobMissing(f"there is no {what} in {account}") from None
    except azure.HttpResponseError as error:
        raise _answer(account, what, error) from None
    except (azure.ServiceRequestError, azure.ServiceResponseError, azure.IncompleteReadError) as error:
        raise StoreError(_no_answer(account, error)) from None


def code_of(error: azure.HttpResponseError) -> str:
    """The service's own word for what went wrong, e.g. `BlobAlreadyExists`."""
    code = getattr(error, "error_code", "") or ""
    return str(getattr(code, "value", code))


def _answer(account: str, what: str, error: azure.HttpResponseError) -> Exception:
    if error.status_code == 403:
        return Refused(_refused(account, what, error))
    answer = f"{error.status_code or ''} {code_of(error)}".strip()
    return StoreError(f"{account} answered {answer} to a request for {what}; try again later")


def _no_answer(account: str, error: azure.AzureError) -> str:
    if "certificate" in str(error).lower():
        return (
            f"the certificate of {account} is not trusted here: if your network has an authority of its own, name its file in "
            "SSL_CERT_FILE and REQUESTS_CA_BUNDLE"
        )
    reason = type(error.inner_exception or error).__name__
    return f"{account} does not answer ({reason}): check the name and the network, then try again; nothing was lost"


def _refused(account: str, what: str, error: azure.HttpResponseError) -> str:
    if error.status_code is None:
        return f"nobody is signed in to use {account}: {_SIGN_IN}"
    code = code_of(error)
    if code == "KeyBasedAuthenticationNotPermitted":
        return f"{account} takes no keys, so the connection string is of no use: sign in with `az login` and give the account's URL"
    reason = f" ({code})" if code else ""
    return (
        f"{account} refuses {what}{reason}: {_SIGN_IN}, and ask for a role such as 'Storage Blob Data Contributor' on the container; "
        "a new role takes some minutes to count"
    )
