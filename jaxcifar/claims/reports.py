"""Lists the claims of the five reports, and the runs they need."""

import math
from collections.abc import Mapping

from jaxcifar.claims.claim import (
    ACCURACY,
    BEST,
    LAST,
    LOSS,
    Claim,
    Comparison,
    Metric,
    at_least,
    at_most,
    beats,
    column,
    figure_claim,
    last_epoch,
    value_at,
    within,
)

POOLED_RATES = tuple(f"pooled_cnn:lr{rate}" for rate in ("0.005", "0.01", "0.001", "0.0001"))
POOLED, POOLED_FAST, _, POOLED_SLOW = POOLED_RATES
BASE, DECAY, AUGMENT = "simple_cnn:base", "simple_cnn:decay", "simple_cnn:augment"
NORM, NORM_FAST, FAST = "simple_cnn:batchnorm", "simple_cnn:bn_lr0.1", "simple_cnn:nobn_lr0.1"
SWISH, L1, L2_0, L2_BIG = (f"simple_cnn:{name}" for name in ("swish", "l1", "l2_0", "l2_1e-2"))

# Sweeps around `batchnorm`; some runs are part of both.
LR_SWEEP = {rate: f"simple_cnn:lr{rate}" for rate in (1, 0.1, 0.05, 0.01, 0.005, 0.001)}
LR_SWEEP |= {0.1: NORM_FAST, 0.01: NORM}
L2_RUNS = (L2_BIG, "simple_cnn:l2_1e-3", NORM, "simple_cnn:l2_1e-5", L2_0)
L2_SWEEP = dict(zip((1e-2, 1e-3, 1e-4, 1e-5, 0), L2_RUNS, strict=True))

# Estimated minutes on two CPU cores, so that the cheapest run first; a measured time replaces them.
RUNS = {
    **dict.fromkeys(POOLED_RATES, 2.0),
    **dict.fromkeys((BASE, DECAY, AUGMENT, FAST), 4.0),
    **dict.fromkeys((NORM, NORM_FAST, SWISH, L1, *LR_SWEEP.values(), *L2_SWEEP.values()), 5.0),
    "resnet20": 540.0,
    "adaptive": 360.0,
    "adaptive_softmax": 660.0,
    "adaptive_prelu": 600.0,
}

TRAIN_ACCURACY, TRAIN_LOSS = last_epoch("train_accuracy"), last_epoch("train_loss")
TEST_LOSS = last_epoch("test_loss")
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
    lambda r: column(r, "train_accuracy")[-1] - value_at(r, "train_accuracy", 10),
    ACCURACY,
)
LATE_TEST = Metric(
    "best test accuracy, after epoch 15 − up to epoch 15",
    lambda r: (
        max(column(r, "test_accuracy")[15:], default=math.nan)
        - max(column(r, "test_accuracy")[:15])
    ),
    ACCURACY,
)
INITIAL_LOSS = Metric(
    "loss before the first step − ln 10", lambda r: r["initial_loss"] - math.log(10), LOSS
)
FIRST_DECAY = Metric(
    "training loss, epoch 51 / epoch 50 (the first decay)",
    lambda r: value_at(r, "train_loss", 51) / value_at(r, "train_loss", 50),
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

L1_L2 = {"L1 1e-4": L1, "L2 1e-4": NORM}
# Learning curves by file name, with title and labelled runs, in the order of the page of results.
CURVES: dict[str, tuple[str, Mapping[str, str]]] = {
    "000_adaptive": ("Report 000: adaptive net", {"adaptive": "adaptive"}),
    "001_adaptive_softmax": ("Report 001: softmax gates", {"adaptive_softmax": "adaptive_softmax"}),
    "004_adaptive_prelu": ("Report 004: PReLU", {"adaptive_prelu": "adaptive_prelu"}),
    "003_fig1_base": ("Figure 1: SimpleCNN", {"base": BASE}),
    "003_fig2_decay": ("Figure 2: with learning rate decay", {"base": BASE, "decay": DECAY}),
    "003_fig3_augment": ("Figure 3: with augmentation", {"base": BASE, "augment": AUGMENT}),
    "003_fig4_batchnorm": (
        "Figure 4: with batch normalisation",
        {"augment": AUGMENT, "batchnorm": NORM},
    ),
    "003_fig5_high_rate": (
        "Figure 5: rate 0.1 with and without batch normalisation",
        {"with BN": NORM_FAST, "without": FAST},
    ),
    "003_fig6_swish": ("Figure 6: Swish", {"ReLU": NORM_FAST, "Swish": SWISH}),
    "003_fig7_rates": ("Figure 7: learning rates", {f"{x:g}": run for x, run in LR_SWEEP.items()}),
    "003_fig8_l2": ("Figure 8: L2", {f"{x:g}": run for x, run in L2_SWEEP.items()}),
    "003_fig9_10_l1_l2": ("Figures 9 and 10: L1 against L2", L1_L2),
    "003_fig12_resnet20": ("Figure 12: ResNet-20", {"resnet20": "resnet20"}),
    "002_a_lr0.005": ("Report 002 (a): rate 0.005", {"0.005": POOLED}),
    "002_b_lr0.01": ("Report 002 (b): rate 0.01", {"0.01": POOLED_FAST}),
    "002_c_lr0.0001": ("Report 002 (c): rate 0.0001", {"0.0001": POOLED_SLOW}),
}

# The claims shown in the README, one or a few per system.
HEADLINES = (
    *("000-test", "001-test", "002-lr0.005", "003-base", "003-augment", "003-batchnorm"),
    *("003-swish", "003-resnet20", "004-test"),
)
CLAIMS = (
    figure_claim("000-test", "adaptive", 0.896, "test acc 0.896"),
    figure_claim("000-train", "adaptive", 0.988, "train acc 0.988", TRAIN_ACCURACY),
    figure_claim("000-loss", "adaptive", 0.035, "loss 0.035", TRAIN_LOSS),
    Claim(
        "000-gap",
        "a notable difference between the training and test accuracies",
        at_least(GAP, "adaptive", 0.05),
    ),
    Claim(
        "000-speed",
        "225.4 examples/sec on cuda",
        at_least(SPEED, "adaptive", 225.4),
        device="NVIDIA",
    ),
    figure_claim("001-test", "adaptive_softmax", 0.9107, "91.07 % test accuracy", BEST),
    Claim(
        "001-consistent",
        "consistently 90 % to 91 % accuracy on the test set",
        at_least(LAST, "adaptive_softmax", 0.90),
    ),
    figure_claim("002-lr0.005", POOLED, 0.5224, "rate 0.005: 52.24 %"),
    figure_claim("002-lr0.01", POOLED_FAST, 0.5197, "rate 0.01: 51.97 %"),
    figure_claim("002-lr0.0001", POOLED_SLOW, 0.3857, "rate 0.0001: 38.57 %"),
    Claim(
        "002-best",
        "the best accuracy is with rate 0.005",
        beats(LAST, POOLED, (POOLED_FAST, POOLED_SLOW)),
        best=True,
    ),
    Claim(
        "002-similar",
        "rates 0.005 and 0.01 are almost similar in performance",
        within(LAST, POOLED, 0.02, POOLED_FAST),
    ),
    Claim(
        "002-worst",
        "rate 0.0001 is the worst, overall not a very good model",
        tuple(Comparison(LAST, run, 0.05, POOLED_SLOW) for run in POOLED_RATES[:3]),
    ),
    figure_claim(
        "002-loss", POOLED, 1.2, "loss around 1.2 after 30 epochs, rate 0.005", TRAIN_LOSS
    ),
    figure_claim("002-loss-slow", POOLED_SLOW, 1.75, "loss around 1.75, rate 0.0001", TRAIN_LOSS),
    Claim(
        "003-initial-loss",
        "the initial loss before any training is 2.304, about ln 10",
        within(INITIAL_LOSS, BASE, 0.03),
    ),
    figure_claim("003-base", BASE, 0.6606, "SimpleNN: best validation accuracy 0.6606", BEST),
    Claim(
        "003-base-train",
        "training accuracy continuously improves throughout the 30 epochs",
        at_least(LATE_TRAINING, BASE, 0.02),
    ),
    Claim(
        "003-base-stall",
        "validation accuracy hits a ceiling around 10 epochs and even declines",
        at_most(LATE_TEST, BASE, 0.0),
    ),
    Claim(
        "003-base-loss",
        "validation loss increases while training loss decreases: over-fitting",
        at_least(LOSS_RISE, BASE, 0.05),
    ),
    figure_claim("003-decay", DECAY, 0.6576, "rate × 0.9 every 10 epochs: 0.6576", BEST),
    Claim(
        "003-decay-no-help",
        "the decay did not help much against over-fitting",
        at_most(BEST, DECAY, 0.01, BASE),
    ),
    figure_claim("003-augment", AUGMENT, 0.7122, "with augmentation: 0.7122", BEST),
    Claim(
        "003-augment-gain",
        "augmentation improved it significantly",
        at_least(BEST, AUGMENT, 0.02, BASE),
    ),
    Claim(
        "003-augment-fit",
        "with augmentation no signs of significant over-fitting",
        at_most(LOSS_RISE, AUGMENT, 0.05),
    ),
    figure_claim("003-batchnorm", NORM, 0.7144, "batch normalisation: 0.7144", BEST),
    Claim(
        "003-batchnorm-gain",
        "a small improvement over augmentation alone",
        at_least(BEST, NORM, 0.0, AUGMENT),
    ),
    Claim(
        "003-bn-high-rate",
        "at rate 0.1, batch normalisation increases accuracy significantly",
        at_least(BEST, NORM_FAST, 0.02, FAST),
    ),
    Claim(
        "003-bn-high-rate-loss",
        "at rate 0.1, batch normalisation reduces training and validation loss",
        at_least(TRAIN_LOSS, FAST, 0.05, NORM_FAST) + at_least(TEST_LOSS, FAST, 0.05, NORM_FAST),
    ),
    figure_claim("003-swish", SWISH, 0.7258, "Swish, batch normalisation, rate 0.1: 0.7258", BEST),
    Claim("003-swish-gain", "Swish improves upon ReLU", at_least(BEST, SWISH, 0.0, NORM_FAST)),
    Claim("003-lr1", "rate 1 did not converge at all", at_most(TRAIN_ACCURACY, LR_SWEEP[1], 0.2)),
    Claim(
        "003-lr0.05",
        "rate 0.05 had the best performance",
        beats(BEST, LR_SWEEP[0.05], LR_SWEEP.values()),
        best=True,
    ),
    Claim(
        "003-lr-small",
        "too small a rate (0.001) costs loss and accuracy",
        at_least(BEST, LR_SWEEP[0.05], 0.01, LR_SWEEP[0.001]),
    ),
    Claim(
        "003-l2-best",
        "L2 of 1e-5 was the best",
        beats(BEST, L2_SWEEP[1e-5], L2_SWEEP.values()),
        best=True,
    ),
    Claim(
        "003-l2-big",
        "penalising too much (1e-2) is suboptimal",
        at_least(BEST, L2_SWEEP[1e-5], 0.02, L2_BIG),
    ),
    Claim(
        "003-l2-none",
        "no regularisation: a small reduction in accuracy",
        at_least(BEST, L2_SWEEP[1e-5], 0.0, L2_0),
    ),
    Claim(
        "003-l1-zero",
        "slightly more weights around 0 with L1 than with L2",
        at_least(NEAR_ZERO, L1, 0.0, NORM),
        note="the report's penalty has no gradient (it takes the norm of `param.data`); ours has",
    ),
    figure_claim(
        "003-resnet20", "resnet20", 0.924, "ResNet-20: best validation accuracy 0.924", BEST
    ),
    Claim(
        "003-resnet20-decay",
        "where the rate decays, dramatic reductions in training loss",
        at_most(FIRST_DECAY, "resnet20", 0.8),
    ),
    figure_claim("004-test", "adaptive_prelu", 0.8966, "validation accuracy 89.66 %, final epoch"),
    figure_claim(
        "004-train", "adaptive_prelu", 0.9666, "training accuracy 96.66 %", TRAIN_ACCURACY
    ),
    figure_claim("004-train-loss", "adaptive_prelu", 1.0249, "training loss 1.0249", TRAIN_LOSS),
    figure_claim("004-test-loss", "adaptive_prelu", 1.1479, "validation loss 1.1479", TEST_LOSS),
    Claim(
        "004-fit",
        "a small difference between training and validation: not over-fitting",
        at_most(GAP, "adaptive_prelu", 0.08),
    ),
)
