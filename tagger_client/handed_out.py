"""The drafts of a batch as the tagger got them, from the store: decided once, whatever settings or images become later."""

from collections.abc import Mapping

from activelearning import labelled, layout
from activelearning.errors import UserError
from activelearning.labels import ImageLabels
from activelearning.store import Blobs
from tagger_client.batch_folder import Manifest


def drafts(blobs: Blobs, manifest: Manifest) -> Mapping[str, ImageLabels]:
    """By image; every image of the batch that could be fetched is among them."""
    name = layout.batch_totag(manifest.batch)
    found = {labels.image: labels for labels in labelled.read(blobs, name).images}
    lacking = [local.image for local in manifest.usable if local.image not in found]
    if lacking:
        raise UserError(f"{name} of {manifest.store} does not list {lacking[0]!r}: it was changed by hand or belongs to another batch.json")
    return found
