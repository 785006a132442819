"""Gradient-boosted trees on the windows that the network is trained on, one model a horizon, absolute error as loss.

Arguments: a folder with train.x, train.y, train.w and test.x (float32, row-major), the number of inputs, the number of horizons.
Writes test.p: one row a window, one column a horizon. One process a core (or as many as OMP_NUM_THREADS says), each with one thread:
threads that wait for each other in every tree do not end on a machine that does other work too.
"""
import os
import sys
import numpy as np
from joblib import Parallel, delayed, parallel_config
from sklearn.ensemble import HistGradientBoostingRegressor

folder, inputs, horizons = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def read(name, columns):
    return np.fromfile(f"{folder}/{name}", dtype=np.float32).reshape(-1, columns)


x, y, w, test = read("train.x", inputs), read("train.y", horizons), read("train.w", 1)[:, 0], read("test.x", inputs)


def answers(h):
    model = HistGradientBoostingRegressor(
        loss="absolute_error", max_iter=300, learning_rate=0.06, max_leaf_nodes=31, min_samples_leaf=40, l2_regularization=1.0,
        early_stopping=True, validation_fraction=0.1, n_iter_no_change=20, random_state=1,
    )
    column = model.fit(x, y[:, h], sample_weight=w).predict(test)
    print(f"horizon {h + 1}: {model.n_iter_} trees", file=sys.stderr, flush=True)
    return column


jobs = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
with parallel_config(backend="loky", inner_max_num_threads=1):
    columns = Parallel(n_jobs=jobs)(delayed(answers)(h) for h in range(horizons))
np.stack(columns, axis=1).astype(np.float32).tofile(f"{folder}/test.p")
