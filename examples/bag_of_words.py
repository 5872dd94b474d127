"""Logistic regression on bags of words, with a sparse matrix that is never made dense.

The texts are drawn here, from invented words and forty English ones that tell a mood: they are no
language, but as sparse as one, and it is known which words should count.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pullback as pb
from pullback import sparse

GOOD = "bright calm clear fair fine fresh gentle glad good grand happy kind lively lovely merry"
GOOD += " neat quick sunny sweet warm"
BAD = "bitter bleak cold crude cruel dark dirty dull false grim harsh lame mean poor sad shabby"
BAD += " sour stale ugly weak"
MOODS = GOOD.split() + BAD.split()
NEUTRAL = 4000
LENGTH = 40
STEPS = 400
PRINT = 100


def vocabulary(rng):
    """The words of moods, then invented ones, all different."""
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    invented = set()
    while len(invented) < NEUTRAL:
        invented.add("".join(rng.choice(syllables, rng.integers(2, 5))))
    return MOODS + sorted(invented)


def draw_texts(rng, count):
    """Words ``[count, LENGTH]``, and whether each text is friendly.

    One word in ten tells a mood, and four of five such words that of the text. The others follow
    Zipf's law: the word of rank r is about 1 / r as frequent as the first.
    """
    friendly = rng.random(count) < 0.5
    ranks = np.exp(rng.random((count, LENGTH)) * np.log(NEUTRAL)).astype(int)
    fits = rng.random((count, LENGTH)) < 4 / 5
    mood = rng.integers(0, 20, (count, LENGTH)) + np.where(fits == friendly[:, None], 0, 20)
    tells = rng.random((count, LENGTH)) < 0.1
    return np.where(tells, mood, len(MOODS) + ranks - 1), friendly


def count_words(words, size):
    """The counts ``[texts, size]``: an entry a word; those at one place mean their sum."""
    texts = np.repeat(np.arange(len(words)), words.shape[1])
    indices = np.stack([texts, words.reshape(-1)], axis=1)
    counts = sparse.COO(np.ones(len(indices), "float32"), indices, (len(words), size))
    return sparse.sum_duplicates(counts)


def rarity(counts):
    """What a word weighs: the logarithm of how few texts have it (Sparck Jones 1972)."""
    texts = sparse.sum(sparse.map_values(pb.ones_like, counts), axis=0).to_dense()
    return pb.log((1 + counts.shape[0]) / (1 + texts))


def loss_of(weights, x, friendly):
    """Mean cross-entropy, and a penalty on long weights."""
    margin = x @ weights * pb.where(friendly, 1.0, -1.0)
    return pb.mean(pb.nn.softplus(-margin)) + 0.003 * pb.sum(weights**2)


@pb.jit
def train(weights, x, friendly):
    """Some steps of descent on all texts at once; returns the weights and the last loss."""

    def step(weights, _):
        loss, gradient = pb.value_and_grad(loss_of)(weights, x, friendly)
        return weights - 0.25 * gradient, loss

    weights, losses = pb.scan(step, weights, None, length=PRINT)
    return weights, losses[-1]


def accuracy(weights, x, friendly):
    """The share of texts on the right side."""
    return float(pb.mean((x @ weights > 0) == friendly))


def draw(names, weights, path):
    """The ten words that count most for either side."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.barh(names, weights, color=["tab:blue" if w > 0 else "tab:red" for w in weights])
    axes.set_xlabel("weight")
    axes.tick_params(axis="y", labelsize=8)
    figure.savefig(path, dpi=72)
    plt.close(figure)


def main():
    """Count, train, and show what was learned."""
    rng = np.random.default_rng(0)
    words = vocabulary(rng)
    (texts, friendly), (test_texts, test_friendly) = draw_texts(rng, 4000), draw_texts(rng, 1000)
    counts = count_words(texts, len(words))
    stored = counts.nse * (4 + 2 * 4)
    print(f"{len(texts):,} texts, {len(words):,} words: {counts.nse:,} counts are not 0,")
    print(
        f"{counts.nse / counts.size:.1%} of the matrix; {stored:,} bytes, not {4 * counts.size:,}"
    )
    weigh = rarity(counts)
    x, test_x = counts * weigh, count_words(test_texts, len(words)) * weigh
    weights = pb.zeros(len(words))
    print("\nstep    loss   accuracy   on other texts")
    for step in range(PRINT, STEPS + 1, PRINT):
        weights, loss = train(weights, x, friendly)
        seen, other = accuracy(weights, x, friendly), accuracy(weights, test_x, test_friendly)
        print(f"{step:4}   {float(loss):.3f}      {seen:.3f}            {other:.3f}")
    known = pb.concat([pb.ones(20), -pb.ones(20), pb.zeros(NEUTRAL)])
    print(
        f"who knows the forty words and counts them: {accuracy(known, test_x, test_friendly):.3f}"
    )
    order = np.argsort(np.asarray(weights))
    top = [*order[:10], *order[-10:]]
    print("\nmost unfriendly:", " ".join(words[i] for i in order[:6]))
    print("most friendly:  ", " ".join(words[i] for i in order[:-7:-1]))
    print("that tell a mood, of the first 20 of either side:", end=" ")
    print(sum(i < len(MOODS) for i in [*order[:20], *order[-20:]]), "of 40")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw([words[i] for i in top], np.asarray(weights)[top], folder / "bag_of_words.png")


if __name__ == "__main__":
    main()
