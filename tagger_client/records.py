"""What the store knows of a batch: the drafts as the tagger got them, and what was handed in from a folder.

Rule: both are blobs that never change, so a folder keeps their names only, and `batch.json` is all there is to be cut off from.
"""

from collections.abc import Mapping

from activelearning import labelled, layout
from activelearning.errors import UserError
from activelearning.labels import ImageLabels
from activelearning.store import Blobs
from tagger_client.batch_folder import Manifest


def drafts(blobs: Blobs, manifest: Manifest) -> Mapping[str, ImageLabels]:
    """By image: decided once, whatever settings or images become later. Every image that could be fetched is among them."""
    name = layout.batch_totag(manifest.batch)
    found = {labels.image: labels for labels in labelled.read(blobs, name).images}
    lacking = [local.image for local in manifest.usable if local.image not in found]
    if lacking:
        raise UserError(f"{name} of {manifest.store} does not list {lacking[0]!r}: it was changed by hand or belongs to another batch.json")
    return found


def handed_in(blobs: Blobs, manifest: Manifest) -> Mapping[str, ImageLabels]:
    """The last labels of each image that were handed in from this folder.

    Not from copies of it: who hands in a second review of the batch is not overruled by the first person's next upload.
    """
    uploads = (labelled.read(blobs, name).images for name in manifest.uploaded)
    return {labels.image: labels for labels in labelled.union(*uploads)}
