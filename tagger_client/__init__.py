"""The annotator's commands: claim a batch, review it in VoTT or CVAT, hand it in."""
