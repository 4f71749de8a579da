"""Real data sets: those of scikit-learn, and those in the folder that the environment variable FASTMLP_DATA names."""

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

BUNDLED = {
    "iris": datasets.load_iris, "wine": datasets.load_wine, "breast cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits, "diabetes": datasets.load_diabetes,
}  # fmt: skip
TABLES = ("LetterRecognition", "Satellite", "spam", "uci_kin8nm", "uci_power-plant")


def data_folder(short):
    """The folder; without it the short form is skipped, and the long one ends with an error."""
    if folder := os.environ.get("FASTMLP_DATA"):
        return Path(folder)
    missing = "needs the folder of data sets that the environment variable FASTMLP_DATA names"
    if short:
        pytest.skip(missing)
    raise RuntimeError(missing)


def bundled():
    """{name: (X, y)}"""
    return {name: load(return_X_y=True) for name, load in BUNDLED.items()}


def from_folder(n_images):
    """{name: (X, y)}: Fashion-MNIST, California housing and tables of numbers."""
    folder = data_folder(short=False)
    found = {"Fashion-MNIST": fashion(folder / "fashion_mnist", n_images)}
    houses = pd.read_csv(folder / "california_housing" / "housing.csv").drop(columns="ocean_proximity").dropna()
    y = houses.pop("median_house_value").to_numpy(float)
    found["California"] = houses.to_numpy(float), y / 1e5
    return found | {name: table(folder, name) for name in TABLES}


def table(folder, name):
    """(X, y) of a Parquet file with the column target."""
    frame = pd.read_parquet(folder / "tabular" / f"{name}.parquet")
    y = frame.pop("target")
    return frame.to_numpy(float), y.to_numpy(float) if pd.api.types.is_float_dtype(y) else y.astype(str).to_numpy()


def fashion(folder, n_images):
    """The first images of the training set, as rows, and their classes."""
    images, labels = (
        np.frombuffer(gzip.decompress((folder / f"train-{name}-ubyte.gz").read_bytes()), np.uint8, offset=offset)
        for name, offset in (("images-idx3", 16), ("labels-idx1", 8))
    )
    return images.reshape(-1, 784)[:n_images] / np.float32(255), labels[:n_images].astype(int)
