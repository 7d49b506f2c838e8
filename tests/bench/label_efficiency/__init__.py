"""How many annotator-seconds a query strategy needs to a given AP, over seeds, on any labelled dataset."""
