"""Calibration: values of a detector that keep their word.

A score becomes the probability that the box is right, class scores the probabilities of the object's class, a predicted deviation the one
that the residuals show, and each corner gets a margin that holds with a promised probability. `fit` learns that from detections beside
the truth and says how good it is on images it has not seen; `Calibration.apply` needs numpy alone.

Example: `calibration = fit(judged, wh, classes)`, `to_json(calibration)`, and later
`from_json(text, "calibration.json").apply(found, (640, 480)).probability`.
"""

from trainer.calibration.calibrated import Calibrated, Calibration, Figures, Options
from trainer.calibration.codec import from_json, to_json
from trainer.calibration.fitting import cross_fitted, fit

__all__ = ["Calibrated", "Calibration", "Figures", "Options", "cross_fitted", "fit", "from_json", "to_json"]
