"""What can go wrong between a reference and a file, as typed errors."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING

from zerostall.errors import InvalidRequestError, ModelNotFoundError, StorageError

if TYPE_CHECKING:
    from zerostall.hub.references import Reference


class HubUnreachableError(ModelNotFoundError):
    """The hub cannot be asked (no network, or offline mode) and the cache lacks the model."""


class GatedModelError(ModelNotFoundError):
    """The repository wants its terms accepted, or a token, first."""


class AmbiguousModelError(ModelNotFoundError):
    """The repository holds several models; the message lists what to choose from."""


@contextlib.contextmanager
def typed_errors(reference: Reference) -> Iterator[None]:
    """Turn what huggingface_hub raises into errors that say what to do."""
    from huggingface_hub import constants
    from huggingface_hub import errors as hf

    page = f"{constants.ENDPOINT}/{reference.repo}"
    # The HTTP library has changed twice (requests, httpx, httpx2): its base class, found here.
    bases = hf.HfHubHTTPError.__bases__
    network: tuple[type[Exception], ...] = (
        OSError,
        *(base for base in bases if issubclass(base, Exception)),
    )
    try:
        yield
    except hf.GatedRepoError as error:
        raise GatedModelError(
            f"{reference} is gated: accept its terms at {page}, then set HF_TOKEN to a token of "
            "that account (or run `hf auth login`)"
        ) from error
    except hf.RevisionNotFoundError as error:
        raise ModelNotFoundError(
            f"{reference}: the repository has no revision {reference.revision!r}; see {page}"
        ) from error
    except hf.RepositoryNotFoundError as error:
        raise ModelNotFoundError(
            f"{reference}: no such repository at {constants.ENDPOINT}; check the spelling, or set "
            "HF_TOKEN if it is private"
        ) from error
    except hf.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "an error")
        raise HubUnreachableError(
            f"{reference}: {constants.ENDPOINT} answered {status}: {error}; try again later"
        ) from error
    except hf.HFValidationError as error:
        raise InvalidRequestError(f"{reference}: {error}") from error
    except hf.OfflineModeIsEnabled as error:
        raise HubUnreachableError(
            f"{reference} is not in the cache ({constants.HF_HUB_CACHE}) and HF_HUB_OFFLINE is "
            "set; unset it, or give the path of a file"
        ) from error
    except network as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise StorageError(
                f"{reference}: cannot write to {constants.HF_HUB_CACHE}: {error}; "
                "free space, or set HF_HOME to another disk"
            ) from error
        raise HubUnreachableError(
            f"{reference}: cannot reach {constants.ENDPOINT} ({error}); check the network or "
            "proxy, then try again: a download resumes where it stopped"
        ) from error
