"""The fourth tutorial's program: two layers of one sigmoid each, in TensorFlow 1's way.

The network sees two points of the plane. The tutorial imports ``tensorflow as tf`` and forgets
NumPy; the rest is as it stands there.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pullback.compat.v1 as tf

POINTS = np.array([[0.1, 0.2], [0.3, 0.4]])
TARGETS = np.array([[0.5], [0.6]])
ELSEWHERE = np.array([[0.7, 0.8]])


def neural_network(x):
    """A sigmoid of the inputs, and a sigmoid of that."""
    layer1 = tf.layers.dense(x, units=1, activation=tf.nn.sigmoid)
    return tf.layers.dense(layer1, units=1, activation=tf.nn.sigmoid)


def train_network(grid):
    """Train for 1000 steps; print the losses; the network on ``grid`` before and after."""
    x = tf.placeholder(tf.float32, [None, 2])
    y = tf.placeholder(tf.float32, [None, 1])
    prediction = neural_network(x)
    loss = tf.reduce_mean(tf.square(y - prediction))
    optimizer = tf.train.GradientDescentOptimizer(learning_rate=0.1)
    train = optimizer.minimize(loss)

    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        before = sess.run(prediction, feed_dict={x: grid})
        for step in range(1000):
            _, loss_value = sess.run([train, loss], feed_dict={x: POINTS, y: TARGETS})
            if step % 100 == 0:
                print(f"step {step:3}: loss {loss_value:.5f}")
        for points in (POINTS, ELSEWHERE):
            for point, value in zip(points, sess.run(prediction, {x: points}), strict=True):
                print(f"prediction at {point}: {value[0]:.3f}")
        after = sess.run(prediction, feed_dict={x: grid})
    return before, after


def draw(before, after, count, path):
    """The network's answer for every point of the square, before and after."""
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 3.4), layout="constrained", sharey=True)
    ticks = np.linspace(0, 1, count)
    levels = np.linspace(min(before.min(), after.min()), max(before.max(), after.max()), 25)
    for axis, values, title in zip(axes, (before, after), ("before", "after"), strict=True):
        surface = values.reshape(count, count)
        filled = axis.contourf(ticks, ticks, surface, levels)
        lines = axis.contour(ticks, ticks, surface, 6, colors="white", linewidths=0.6)
        axis.clabel(lines, fontsize=7)
        for (px, py), (target,) in zip(POINTS, TARGETS, strict=True):
            axis.plot(px, py, "o", color="tab:red")
            note = {"textcoords": "offset points", "color": "white", "fontsize": 9}
            axis.annotate(f"wanted {target}", (px, py), (6, -12), **note)
        axis.plot(*ELSEWHERE[0], "x", color="tab:red")
        axis.set(title=f"{title} training", xlabel="first input", aspect="equal")
    axes[0].set_ylabel("second input")
    figure.colorbar(filled, ax=axes, label="prediction", format="%.2f")
    figure.savefig(path, dpi=85)


def main():
    """Train, then draw the surface over the unit square."""
    tf.set_random_seed(1)
    count = 21
    first, second = np.meshgrid(np.linspace(0, 1, count), np.linspace(0, 1, count))
    grid = np.stack([first.ravel(), second.ravel()], axis=1)
    before, after = train_network(grid)

    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(before, after, count, folder / "tutorial_4_two_sigmoid_layers.png")


if __name__ == "__main__":
    main()
