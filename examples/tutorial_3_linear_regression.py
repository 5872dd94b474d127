"""The third tutorial's program: a line through five points, in TensorFlow 1's way.

A graph is described first and run in a session afterwards. The tutorial imports ``tensorflow as
tf``; the rest is as it stands there.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pullback.compat.v1 as tf

STEPS = 100
PRINTED = (0, 1, 2, 5, 10, 15, 20, 30, 40, 100)
DRAWN = (0, 1, 2, 5, 20)


def describe():
    """The graph: inputs, the weight, its cost, and the operation that moves it once."""
    X = tf.placeholder(tf.float32)
    Y = tf.placeholder(tf.float32)

    W = tf.Variable(tf.random_normal([1, 1]))
    hypothesis = tf.multiply(X, W)

    cost = tf.reduce_mean(tf.square(Y - hypothesis))
    optimizer = tf.train.GradientDescentOptimizer(learning_rate=0.01)
    return X, Y, W, cost, optimizer.minimize(cost)


def run(x_data, y_data):
    """Train for 100 steps; the weight and the cost before each step and at the end."""
    X, Y, W, cost, train = describe()
    feed = {X: x_data, Y: y_data}
    weights, costs = [], []
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for _ in range(STEPS):
            weights.append(float(sess.run(W)[0, 0]))
            costs.append(float(sess.run(cost, feed_dict=feed)))
            sess.run(train, feed_dict=feed)
        weights.append(float(sess.run(W)[0, 0]))
        costs.append(float(sess.run(cost, feed_dict=feed)))
    return weights, costs


def draw(x_data, y_data, weights, costs, path):
    """The line as it turns into the points, and the cost of each step."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3), layout="constrained")
    ends = np.array([0, 5.5])
    for index, step in enumerate(DRAWN):
        shade = plt.get_cmap("viridis")(index / len(DRAWN))
        left.plot(ends, weights[step] * ends, color=shade, label=f"after {step} steps")
    left.plot(x_data, y_data, "ko", markersize=5)
    left.set(xlabel="x", ylabel="y")
    left.legend(frameon=False, fontsize=8)
    right.semilogy(np.maximum(costs, 1e-14))
    right.set(xlabel="steps", ylabel="cost")
    right.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def main():
    """Print how the weight comes to 2."""
    tf.set_random_seed(1)
    x_data = np.array([1, 2, 3, 4, 5])
    y_data = np.array([2, 4, 6, 8, 10])
    weights, costs = run(x_data, y_data)
    for step in PRINTED:
        print(f"after {step:3} steps: W {weights[step]:.5f}, cost {costs[step]:.6f}")

    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(x_data, y_data, weights, costs, folder / "tutorial_3_linear_regression.png")


if __name__ == "__main__":
    main()
