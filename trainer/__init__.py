"""The GPU side of the loop: dataset, train, evaluate, export, predict, publish."""
