"""Lists the claims of the five reports, and the runs they need."""

import math

from jaxcifar.claims.claim import (
    ACCURACY,
    BEST,
    LAST,
    LOSS,
    Claim,
    Comparison,
    Metric,
    best_claim,
    best_figure_claim,
    column,
    figure_claim,
    gain_claim,
    last_epoch,
    statement_claim,
    within_claim,
)

# Estimated minutes on two CPU cores, so that the cheapest run first; a measured time replaces them.
RUNS = {
    "pooled_cnn:lr0.005": 2.0,
    "pooled_cnn:lr0.01": 2.0,
    "pooled_cnn:lr0.001": 2.0,
    "pooled_cnn:lr0.0001": 2.0,
    "simple_cnn:base": 4.0,
    "simple_cnn:decay": 4.0,
    "simple_cnn:augment": 4.0,
    "simple_cnn:nobn_lr0.1": 4.0,
    "simple_cnn:batchnorm": 5.0,
    "simple_cnn:bn_lr0.1": 5.0,
    "simple_cnn:swish": 5.0,
    "simple_cnn:l1": 5.0,
    "simple_cnn:lr1": 5.0,
    "simple_cnn:lr0.05": 5.0,
    "simple_cnn:lr0.005": 5.0,
    "simple_cnn:lr0.001": 5.0,
    "simple_cnn:l2_1e-2": 5.0,
    "simple_cnn:l2_1e-3": 5.0,
    "simple_cnn:l2_1e-5": 5.0,
    "simple_cnn:l2_0": 5.0,
    "resnet20": 800.0,
    "adaptive": 900.0,
    "adaptive_softmax": 4000.0,
    "adaptive_prelu": 4000.0,
}
# Sweeps around `batchnorm`; some runs are part of both.
LR_SWEEP = {
    1: "simple_cnn:lr1",
    0.1: "simple_cnn:bn_lr0.1",
    0.05: "simple_cnn:lr0.05",
    0.01: "simple_cnn:batchnorm",
    0.005: "simple_cnn:lr0.005",
    0.001: "simple_cnn:lr0.001",
}
L2_SWEEP = {
    1e-2: "simple_cnn:l2_1e-2",
    1e-3: "simple_cnn:l2_1e-3",
    1e-4: "simple_cnn:batchnorm",
    1e-5: "simple_cnn:l2_1e-5",
    0: "simple_cnn:l2_0",
}

BASE, DECAY, AUGMENT = "simple_cnn:base", "simple_cnn:decay", "simple_cnn:augment"
NORM, NORM_FAST, FAST = "simple_cnn:batchnorm", "simple_cnn:bn_lr0.1", "simple_cnn:nobn_lr0.1"
SWISH, L1, L2_0, L2_BIG = "simple_cnn:swish", "simple_cnn:l1", "simple_cnn:l2_0", L2_SWEEP[1e-2]
POOLED_RATES = tuple(f"pooled_cnn:lr{rate}" for rate in ("0.005", "0.01", "0.001", "0.0001"))
POOLED, POOLED_FAST, _, POOLED_SLOW = POOLED_RATES

GAP = Metric(
    "train − test accuracy, last epoch",
    lambda r: column(r, "train_accuracy")[-1] - column(r, "test_accuracy")[-1],
    ACCURACY,
)
LOSS_RISE = Metric(
    "test loss, last epoch − minimum",
    lambda r: column(r, "test_loss")[-1] - min(column(r, "test_loss")),
    LOSS,
)
LATE_TRAINING = Metric(
    "train accuracy, epoch 30 − epoch 10",
    lambda r: column(r, "train_accuracy")[-1] - column(r, "train_accuracy")[9],
    ACCURACY,
)
LATE_TEST = Metric(
    "best test accuracy, after epoch 15 − up to epoch 15",
    lambda r: max(column(r, "test_accuracy")[15:]) - max(column(r, "test_accuracy")[:15]),
    ACCURACY,
)
INITIAL_LOSS = Metric(
    "loss before the first step − ln 10", lambda r: r["initial_loss"] - math.log(10), LOSS
)
FIRST_DECAY = Metric(
    "training loss, epoch 51 / epoch 50 (the first decay)",
    lambda r: column(r, "train_loss")[50] / column(r, "train_loss")[49],
    "ratio",
)
NEAR_ZERO = Metric(
    "share of weights within ±0.001", lambda r: r["weights"]["share_below"]["0.001"], "share"
)
SPEED = Metric(
    "training examples per second, median epoch",
    lambda r: r["examples_per_second"],
    "examples per second",
)

# The claims shown in the README, one or a few per system.
HEADLINES = (
    "000-test",
    "001-test",
    "002-lr0.005",
    "003-base",
    "003-augment",
    "003-batchnorm",
    "003-swish",
    "003-resnet20",
    "004-test",
)
CLAIMS = (
    figure_claim("000-test", "adaptive", 0.896, "test acc 0.896"),
    figure_claim("000-train", "adaptive", 0.988, "train acc 0.988", "train_accuracy"),
    figure_claim("000-loss", "adaptive", 0.035, "loss 0.035", "train_loss"),
    statement_claim(
        "000-gap",
        "a notable difference between the training and test accuracies",
        GAP,
        "adaptive",
        0.05,
    ),
    statement_claim(
        "000-speed", "225.4 examples/sec on cuda", SPEED, "adaptive", 225.4, device="NVIDIA"
    ),
    best_figure_claim("001-test", "adaptive_softmax", 0.9107, "91.07 % test accuracy"),
    statement_claim(
        "001-consistent",
        "consistently 90 % to 91 % accuracy on the test set",
        LAST,
        "adaptive_softmax",
        0.90,
    ),
    figure_claim("002-lr0.005", POOLED, 0.5224, "rate 0.005: 52.24 %"),
    figure_claim("002-lr0.01", POOLED_FAST, 0.5197, "rate 0.01: 51.97 %"),
    figure_claim("002-lr0.0001", POOLED_SLOW, 0.3857, "rate 0.0001: 38.57 %"),
    best_claim(
        "002-best",
        POOLED,
        (POOLED_FAST, POOLED_SLOW),
        "the best accuracy is with rate 0.005",
        LAST,
    ),
    within_claim(
        "002-similar",
        "rates 0.005 and 0.01 are almost similar in performance",
        LAST,
        POOLED,
        0.02,
        POOLED_FAST,
    ),
    Claim(
        "002-worst",
        "rate 0.0001 is the worst, overall not a very good model",
        tuple(Comparison(LAST, run, 0.05, POOLED_SLOW) for run in POOLED_RATES[:3]),
    ),
    figure_claim(
        "002-loss", POOLED, 1.2, "loss around 1.2 after 30 epochs, rate 0.005", "train_loss"
    ),
    figure_claim("002-loss-slow", POOLED_SLOW, 1.75, "loss around 1.75, rate 0.0001", "train_loss"),
    within_claim(
        "003-initial-loss",
        "the initial loss before any training is 2.304, about ln 10",
        INITIAL_LOSS,
        BASE,
        0.03,
    ),
    best_figure_claim("003-base", BASE, 0.6606, "SimpleNN: best validation accuracy 0.6606"),
    statement_claim(
        "003-base-train",
        "training accuracy continuously improves throughout the 30 epochs",
        LATE_TRAINING,
        BASE,
        0.02,
    ),
    statement_claim(
        "003-base-stall",
        "validation accuracy hits a ceiling around 10 epochs and even declines",
        LATE_TEST,
        BASE,
        0.0,
        at_most=True,
    ),
    statement_claim(
        "003-base-loss",
        "validation loss increases while training loss decreases: over-fitting",
        LOSS_RISE,
        BASE,
        0.05,
    ),
    best_figure_claim("003-decay", DECAY, 0.6576, "rate × 0.9 every 10 epochs: 0.6576"),
    Claim(
        "003-decay-no-help",
        "the decay did not help much against over-fitting",
        (Comparison(BEST, DECAY, 0.01, BASE, at_most=True),),
    ),
    best_figure_claim("003-augment", AUGMENT, 0.7122, "with augmentation: 0.7122"),
    gain_claim("003-augment-gain", AUGMENT, BASE, 0.02, "augmentation improved it significantly"),
    statement_claim(
        "003-augment-fit",
        "with augmentation no signs of significant over-fitting",
        LOSS_RISE,
        AUGMENT,
        0.05,
        at_most=True,
    ),
    best_figure_claim("003-batchnorm", NORM, 0.7144, "batch normalisation: 0.7144"),
    gain_claim(
        "003-batchnorm-gain", NORM, AUGMENT, 0.0, "a small improvement over augmentation alone"
    ),
    gain_claim(
        "003-bn-high-rate",
        NORM_FAST,
        FAST,
        0.02,
        "at rate 0.1, batch normalisation increases accuracy significantly",
    ),
    gain_claim(
        "003-bn-high-rate-loss",
        FAST,
        NORM_FAST,
        0.05,
        "at rate 0.1, batch normalisation reduces training and validation loss",
        (last_epoch("train_loss"), last_epoch("test_loss")),
    ),
    best_figure_claim("003-swish", SWISH, 0.7258, "Swish, batch normalisation, rate 0.1: 0.7258"),
    gain_claim("003-swish-gain", SWISH, NORM_FAST, 0.0, "Swish improves upon ReLU"),
    statement_claim(
        "003-lr1",
        "rate 1 did not converge at all",
        last_epoch("train_accuracy"),
        LR_SWEEP[1],
        0.2,
        at_most=True,
    ),
    best_claim(
        "003-lr0.05", LR_SWEEP[0.05], LR_SWEEP.values(), "rate 0.05 had the best performance", BEST
    ),
    gain_claim(
        "003-lr-small",
        LR_SWEEP[0.05],
        LR_SWEEP[0.001],
        0.01,
        "too small a rate (0.001) costs loss and accuracy",
    ),
    best_claim("003-l2-best", L2_SWEEP[1e-5], L2_SWEEP.values(), "L2 of 1e-5 was the best", BEST),
    gain_claim(
        "003-l2-big", L2_SWEEP[1e-5], L2_BIG, 0.02, "penalising too much (1e-2) is suboptimal"
    ),
    gain_claim(
        "003-l2-none", L2_SWEEP[1e-5], L2_0, 0.0, "no regularisation: a small reduction in accuracy"
    ),
    Claim(
        "003-l1-zero",
        "slightly more weights around 0 with L1 than with L2",
        (Comparison(NEAR_ZERO, L1, 0.0, NORM),),
        note="the report's penalty has no gradient (it takes the norm of `param.data`); ours has",
    ),
    best_figure_claim(
        "003-resnet20", "resnet20", 0.924, "ResNet-20: best validation accuracy 0.924"
    ),
    statement_claim(
        "003-resnet20-decay",
        "where the rate decays, dramatic reductions in training loss",
        FIRST_DECAY,
        "resnet20",
        0.8,
        at_most=True,
    ),
    figure_claim("004-test", "adaptive_prelu", 0.8966, "validation accuracy 89.66 %, final epoch"),
    figure_claim(
        "004-train", "adaptive_prelu", 0.9666, "training accuracy 96.66 %", "train_accuracy"
    ),
    figure_claim("004-train-loss", "adaptive_prelu", 1.0249, "training loss 1.0249", "train_loss"),
    figure_claim("004-test-loss", "adaptive_prelu", 1.1479, "validation loss 1.1479", "test_loss"),
    statement_claim(
        "004-fit",
        "a small difference between training and validation: not over-fitting",
        GAP,
        "adaptive_prelu",
        0.08,
        at_most=True,
    ),
)
