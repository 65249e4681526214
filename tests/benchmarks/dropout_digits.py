"""Frontiers of fidelity and diversity over w on digits, for rates of label dropout.

    python tests/benchmarks/dropout_digits.py [--n 500] [--seeds 0 1 2]

The shipped digits model's kind of network, trained by `train_digits` as lesson 00's is: Muon, times by min-SNR, STEPS batches
of 64, which is about half a minute of one core. Only the share of labels that are made null differs. Rates 0.1 and 0.5 are two
of the three that Ho and Salimans 2022, section 4.2, compared; 0.2 is not trained. With 0 the null label is never trained, so
that guidance subtracts an untrained condition: a control of one training, which shows what the figures see of it. Else three
trainings a rate, seeds 0 to 2; a seed fixes first weights, batches and the noise of sampling, so that rates are compared in
pairs. n samples by 25 steps of DDIM for each w, ten classes alike, evaluated by the shipped classifier against n held-out
digits. Shown are the frontiers, precision and recall over w, the Frechet distance over w, and the difference of the mean
logarithm of the distance over the four w, with its margin. Three trainings resolve large differences only, so no claim is made.
All this was fixed before any of these was trained, but one of rate 0 for 1,000 batches, whose distances showed that a w above 3
is of no use. Networks are kept in build/dropout_digits.
"""

from functools import cache

import torch
from rows import BUILD, Benchmark, Part, load_or_train, measure
from scores import digit_scores, digits_floor

from course_lib.denoisers import Network
from course_lib.guidance import classifier_free
from course_lib.process import seeded
from course_lib.samplers import sample
from course_lib.zoo.recipes.digits import digits_network, train_digits

STEPS = 500
RATES, WS = (0.0, 0.1, 0.5), (1, 1.5, 2, 3)


@cache
def trained(rate: float, seed: int) -> Network:
    """A network of digits, trained with that share of labels dropped."""
    network = digits_network(seed)
    path = BUILD / f"dropout_digits/{rate:g} {seed}.safetensors"
    load_or_train(path, network.net, lambda: train_digits(network, seed=seed, steps=STEPS, dropped=rate))
    return network


def row(n: int, rate: float, seed: int, w: float) -> dict:
    """The scores of n samples."""
    network, label = trained(rate, seed), torch.arange(n) % 10
    with torch.no_grad():
        made = sample(classifier_free(network, label, w), network.draw_noise(n, seeded(100 + seed)), 25, batch=100)
    return {"figures": digit_scores(made.clamp(-1, 1), label)}


def jobs(seeds):
    return [{"rate": rate, "seed": seed, "w": w} for seed in seeds for rate in RATES if rate or seed == 0 for w in WS]


BENCH = Benchmark(
    "dropout_digits",
    [Part(jobs=jobs, row=row, once={"real": digits_floor})],
    amounts={"n": 500},
    header={"training steps": STEPS},
    threads=1,
)

if __name__ == "__main__":
    measure(__doc__, BENCH)
