"""Gradient-boosted trees on the windows that the network is trained on, one model a horizon, absolute error as loss.

Arguments: a folder with train.x, train.y, train.w and test.x (float32, row-major), the number of inputs, the number of horizons.
Writes test.p: one row a window, one column a horizon.
"""
import sys
import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

folder, inputs, horizons = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def read(name, columns):
    return np.fromfile(f"{folder}/{name}", dtype=np.float32).reshape(-1, columns)


x, y, w, test = read("train.x", inputs), read("train.y", horizons), read("train.w", 1)[:, 0], read("test.x", inputs)
out = np.empty((len(test), horizons), dtype=np.float32)
for h in range(horizons):
    model = HistGradientBoostingRegressor(
        loss="absolute_error", max_iter=300, learning_rate=0.06, max_leaf_nodes=31, min_samples_leaf=40, l2_regularization=1.0,
        early_stopping=True, validation_fraction=0.1, n_iter_no_change=20, random_state=1,
    )
    out[:, h] = model.fit(x, y[:, h], sample_weight=w).predict(test)
    print(f"horizon {h + 1}: {model.n_iter_} trees", file=sys.stderr, flush=True)
out.tofile(f"{folder}/test.p")
