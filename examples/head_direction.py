"""Direction of a face: Mitchell's 960-3-4 network (Machine Learning, 1997, section 4.7) and its weights."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from fastmlp import MLP, Layer, make_optimizer
from fastmlp.inspection.plots import plot_hidden_weights

POSES = ["left", "straight", "right", "up"]
SHAPE = 30, 32
HELD_OUT = "all_test1", "all_test2"  # lists of test images


def images(data, name):
    """Pixels in [0, 1] and class numbers of the images in a list."""
    files = [Path(line).name for line in (data / "lists" / f"{name}.list").read_text().split()]
    # <user>_<pose>_<expression>_<eyes>_4.pgm; Pillow scales grey values to 0 to 255.
    pixels = [np.asarray(Image.open(data / "faces" / file.split("_")[0] / file)).ravel() / 255 for file in files]
    return np.array(pixels), np.array([POSES.index(file.split("_")[1]) for file in files])


def network(seed):
    """The book's network: input weights of 0, small output weights, momentum."""
    random = np.random.RandomState(seed)
    hidden = np.zeros((np.prod(SHAPE), 3)), np.zeros(3)
    output = random.uniform(-0.05, 0.05, (3, 4)), random.uniform(-0.05, 0.05, 4)
    return MLP(
        [Layer(3, "logistic"), Layer(4, "logistic")], "squared_error",
        make_optimizer("momentum", learning_rate=0.3, momentum=0.3), init=[hidden, output], random_state=seed,
    )  # fmt: skip


def accuracy(model, X, poses):
    return float((model.predict(X).argmax(axis=1) == poses).mean())


def main(out, quick=False, data=None):
    """Test accuracy after 100 epochs (90 % in the book) for several seeds, and the weights after 1 and 100 epochs."""
    X, poses = images(data, "all_train")
    held_out = [np.concatenate(parts) for parts in zip(*(images(data, name) for name in HELD_OUT))]
    targets = np.where(np.eye(4)[poses], 0.9, 0.1)

    model = network(seed=0).fit(X, targets, epochs=1, batch_size=1)
    figure = Figure(figsize=(7, 5), layout="constrained")
    above, below = figure.subplots(2, 3)
    plot_hidden_weights(model, SHAPE, axes=above)
    above[0].set_title("unit 1, after 1 epoch", fontsize="small")
    model.fit(X, targets, epochs=99, batch_size=1)
    plot_hidden_weights(model, SHAPE, axes=below)
    below[0].set_title("unit 1, after 100 epochs", fontsize="small")
    figure.savefig(out / "head_direction.png", dpi=90)

    others = [network(seed).fit(X, targets, epochs=100, batch_size=1) for seed in range(1, 3 if quick else 20)]
    accuracies = [accuracy(each, *held_out) for each in (model, *others)]
    return {
        "training images": len(X),
        "held-out images": len(held_out[0]),
        "training accuracy": round(accuracy(model, X, poses), 3),
        "held-out accuracy": round(accuracies[0], 3),
        "median over seeds": round(float(np.median(accuracies)), 3),
        "minimum over seeds": round(min(accuracies), 3),
    }


if __name__ == "__main__":
    from command_line import run

    run(main, data="the CMU face images (faces/ and lists/)")
