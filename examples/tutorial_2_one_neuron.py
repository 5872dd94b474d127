"""The second tutorial's worked example: one neuron, by hand and by the engine.

Every derivative comes out the same to the last bit, for the engine's rules are the formulas that
one writes down by hand, in the same order.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pullback as pb

W, B = 0.8, -0.3
X, Y_TRUE = 1.5, 0.25
FORMULAS = {
    "y": "y - y_true",
    "z": "dL/dy * (y * (1 - y))",
    "w": "dL/dz * x",
    "b": "dL/dz",
}


def by_hand(w, b, x, y_true):
    """The derivatives of the loss as the tutorial writes them, in float64."""
    z = w * x + b
    y = 1 / (1 + np.exp(-z))
    dy = y - y_true
    dz = dy * (y * (1 - y))
    return {"y": dy, "z": dz, "w": dz * x, "b": dz}


def loss(w, b, x, y_true):
    """Half the squared error of a neuron with one weight, one bias and a sigmoid."""
    y = pb.nn.sigmoid(w * x + b)
    return 0.5 * (y - y_true) ** 2


def by_engine(w, b, x, y_true):
    """The values of the neuron, and the derivatives of the loss by each of them."""
    names = ("w", "b", "x", "y_true")
    given = [pb.asarray(v, dtype=pb.float64) for v in (w, b, x, y_true)]
    values = dict(zip(names, given, strict=True))
    with pb.GradientTape() as tape:
        tape.watch(values)
        values["wx"] = values["w"] * values["x"]
        values["z"] = values["wx"] + values["b"]
        values["y"] = pb.nn.sigmoid(values["z"])
        values["L"] = 0.5 * (values["y"] - values["y_true"]) ** 2
    return values, tape.gradient(values["L"], values)


def draw(values, derivatives, path):
    """The neuron as a graph: values go to the right, derivatives come back on the same edges."""
    places = {"x": (0, 1), "w": (1.5, 2), "×": (1.5, 1), "b": (3.2, 2), "+": (3.2, 1)}
    places |= {"σ": (4.9, 1), "$y_{true}$": (6.6, 2), "loss": (6.6, 1), "": (8.2, 1)}
    edges = {"x": ("x", "×"), "w": ("w", "×"), "wx": ("×", "+"), "b": ("b", "+")}
    edges |= {"z": ("+", "σ"), "y": ("σ", "loss"), "y_true": ("$y_{true}$", "loss")}
    edges |= {"L": ("loss", "")}
    figure, axis = plt.subplots(figsize=(8.2, 2.6), layout="constrained")
    for name, (start, end) in edges.items():
        (x0, y0), (x1, y1) = places[start], places[end]
        arrow = {"arrowstyle": "->", "shrinkA": 16, "shrinkB": 16, "color": "0.5"}
        axis.annotate("", (x1, y1), (x0, y0), arrowprops=arrow)
        symbol = "y_{true}" if name == "y_true" else name
        forward = f"${symbol} = {float(values[name]):.4f}$"
        back = f"$∂L/∂{symbol} = {float(derivatives[name]):.4f}$"
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        if y0 == y1:
            axis.text(x, y + 0.1, forward, ha="center", color="tab:blue", fontsize=9)
            axis.text(x, y - 0.2, back, ha="center", color="tab:red", fontsize=9)
        else:
            axis.text(x + 0.08, y + 0.06, forward, color="tab:blue", fontsize=9)
            axis.text(x + 0.08, y - 0.16, back, color="tab:red", fontsize=9)
    for name, (x, y) in places.items():
        shape = "circle" if name in {"×", "+", "σ", "loss"} else "square"
        box = {"boxstyle": shape, "facecolor": "white", "edgecolor": "0.3"}
        axis.text(x, y, name, ha="center", va="center", bbox=box if name else None)
    axis.set(xlim=(-0.3, 8.4), ylim=(0.6, 2.3))
    axis.set_axis_off()
    figure.savefig(path, dpi=100)


def main():
    """Print the derivatives side by side, then the program that the engine derived."""
    hand = by_hand(W, B, X, Y_TRUE)
    values, derivatives = by_engine(W, B, X, Y_TRUE)
    print(f"{'':5} {'formula':22} {'by hand':18} {'by the engine':18} difference")
    for name, formula in FORMULAS.items():
        engine = float(derivatives[name])
        difference = engine - hand[name]
        print(f"dL/d{name} {formula:22} {hand[name]:.15f}  {engine:.15f}  {difference:g}")
    number = pb.ArrayType((), pb.float64)
    print(pb.make_program(pb.grad(loss, argnums=(0, 1)))(number, number, number, number))

    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(values, derivatives, folder / "tutorial_2_one_neuron.png")


if __name__ == "__main__":
    main()
